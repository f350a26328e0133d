"""Multinomial logistic regression: several penalized problems on the same features, minimized together.

A problem is to minimize ``sum_n w_n · cross_entropy(n) + precision/2 · ‖W‖² + BIAS_PRECISION/2 · ‖b‖²``, the negative
log posterior under Gaussian priors. It is convex and has one minimum. L-BFGS (Nocedal & Wright 2006, algorithms 7.4 and
3.1) finds it in coordinates scaled by Böhning's bound on the curvature (1992): if the columns of the features are
orthogonal, as singular vectors are, the bound is diagonal, and the scaled problem is well conditioned. Problems share
each product with the features, so the folds of a cross-validation cost little more than one fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

# Prior precision of each class's bias, N(0, 10): weak, but a class without labels keeps a probability above zero.
BIAS_PRECISION = 0.1
_HISTORY = 10
_HALVINGS = 30
_SUFFICIENT = 1e-4


@dataclass(frozen=True)
class Features:
    """The data that the problems share.

    Attributes:
        rows: (M, r), columns orthogonal and of mean zero, or nearly so, which matters only for speed.
        labels: int64 (M,).
        n_classes: C.
    """

    rows: Tensor
    labels: Tensor
    n_classes: int

    @property
    def spectrum(self) -> Tensor:
        """Squared lengths of the columns, (r,)."""
        return self.rows.square().sum(dim=0)

    def log_probabilities(self, weights: Tensor, chosen: Tensor) -> Tensor:
        """Return log probabilities (n, C) of the rows ``chosen`` under weights (r + 1, C), the bias last."""
        return (self.rows[chosen] @ weights[:-1] + weights[-1]).log_softmax(dim=1)


def minimize(
    features: Features,
    sample_weights: Tensor,
    precision: float,
    start: Tensor | None = None,
    tolerance: float = 1e-9,
    max_steps: int = 500,
) -> tuple[Tensor, int]:
    """Return the weights of P problems, (P, r + 1, C), the bias last, and the number of steps taken.

    Args:
        features: The samples.
        sample_weights: Weight of every sample in every problem, (P, M), at least 0.
        precision: Precision of the weights' prior, positive.
        start: Weights to start from; zeros by default.
        tolerance: Steps end once each problem's predicted decrease is below this share of its value.
        max_steps: Maximum number of steps.
    """
    problem = _Scaled(features, sample_weights, precision)
    point = sample_weights.new_zeros(len(sample_weights), features.n_classes, features.rows.shape[1] + 1)
    if start is not None:
        point = start.mT / problem.scale
    value, gradient = problem.evaluate(point)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    step = 0
    while step < max_steps:
        direction = _direction(gradient, pairs)
        slope = _dot(direction, gradient)
        if (-slope <= tolerance * value + torch.finfo(value.dtype).eps).all():
            break
        following, new_value, new_gradient = _line_search(problem, point, value, direction, slope)
        moved, turned = following - point, new_gradient - gradient
        product = _dot(moved, turned)
        # A step too short to show the curvature is left out of the history.
        pairs.append((moved, turned, torch.where(product > 0, product.reciprocal(), torch.zeros_like(product))))
        del pairs[:-_HISTORY]
        stalled = (new_value >= value).all()
        point, value, gradient = following, new_value, new_gradient
        step += 1
        if stalled:  # rounding: no further decrease is possible
            break
    return (problem.scale * point).mT, step


class _Scaled:
    """The problems in scaled coordinates, in which the curvature is at most one.

    A point is (P, C, r + 1): with the samples as the last dimension of the logits, a softmax over the classes is
    several times as fast.
    """

    def __init__(self, features: Features, sample_weights: Tensor, precision: float) -> None:
        rows = features.rows
        self._rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
        self._labels = features.labels.expand(len(sample_weights), 1, -1)
        self._minus_ones = rows.new_full(self._labels.shape, -1.0)
        self._sample_weights = sample_weights
        penalties = rows.new_full((self._rows.shape[1],), precision)
        penalties[-1] = BIAS_PRECISION
        self._penalties = penalties
        share = sample_weights.sum(dim=1) / len(rows)
        bound = 0.5 * share[:, None, None] * self._rows.square().sum(dim=0)
        self.scale = (bound + penalties).rsqrt()

    def evaluate(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values (P,) and gradients (P, C, r + 1) at a point in scaled coordinates."""
        weights = self.scale * point
        logits = (weights.flatten(0, 1) @ self._rows.T).view(*point.shape[:2], -1)
        log_probabilities = logits.log_softmax(dim=1)
        losses = -log_probabilities.gather(1, self._labels).squeeze(1)
        residuals = log_probabilities.exp_().scatter_add_(1, self._labels, self._minus_ones)
        residuals.mul_(self._sample_weights[:, None])
        pulls = self._penalties * weights
        gradient = (residuals.flatten(0, 1) @ self._rows).view_as(point) + pulls
        value = (losses * self._sample_weights).sum(dim=1) + 0.5 * _dot(pulls, weights)
        return value, gradient * self.scale


def _direction(gradient: Tensor, pairs: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Return the downhill direction of L-BFGS for each problem; without history the negative gradient."""
    result = -gradient
    if not pairs:
        return result
    shares = []
    for moved, turned, inverse in reversed(pairs):
        share = inverse * _dot(moved, result)
        result = torch.addcmul(result, share[:, None, None], turned, value=-1)
        shares.append(share)
    _, turned, inverse = pairs[-1]
    size = _dot(turned, turned) * inverse
    result = result * torch.where(size > 0, size.reciprocal(), torch.ones_like(size))[:, None, None]
    for (moved, turned, inverse), share in zip(pairs, reversed(shares), strict=True):
        result = torch.addcmul(result, (share - inverse * _dot(turned, result))[:, None, None], moved)
    return result


def _line_search(
    problem: _Scaled, point: Tensor, value: Tensor, direction: Tensor, slope: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Halve each problem's step until its value decreases enough; a problem where it never does keeps its point."""
    length = torch.ones_like(slope)
    for _ in range(_HALVINGS):
        following = point + length[:, None, None] * direction
        new_value, gradient = problem.evaluate(following)
        is_enough = new_value <= value + _SUFFICIENT * length * slope
        if is_enough.all():
            return following, new_value, gradient
        length = torch.where(is_enough, length, length / 2)
    following = torch.where(is_enough[:, None, None], following, point)
    return following, *problem.evaluate(following)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(dim=(1, 2))
