"""How strongly a model's weights are shrunk to zero: chosen by cross-validation, and by a prior if labels are few."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from deepal_autoal.models.softmax_regression import Features, minimize
from deepal_autoal.numerics.calibration import stratified_folds
from deepal_autoal.numerics.random_streams import numpy_stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

N_FOLDS = 5
# Most labels that the choice uses. The precision of a prior does not depend on the number of labels.
MOST_LABELS = 1000
# Standard deviation of the prior of the variance, in decades.
_SPREAD = 0.7
# Decades of the variance relative to the usual one, from strong to weak; then half a decade around the best.
_COARSE = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
_LARGEST_USUAL_VARIANCE = 50.0
_TOLERANCE = 1e-4
_ROUGH_TOLERANCE = 1e-3
_MAX_STEPS = 60


def copies_of(rows: Tensor) -> NDArray[np.int64]:
    """Return a number from 0 for each row, int64 (M,), the same for equal rows."""
    groups: NDArray[np.int64] = torch.unique(rows, dim=0, return_inverse=True)[1].cpu().numpy()
    return groups


def usual_variance(rows: Tensor) -> float:
    """Return the expected variance of a logit before any label is seen.

    Weights of variance one on scaled features, as scikit-learn's C = 1 assumes, give a variance equal to the number of
    features; beyond 50 it does not grow, because features are then redundant.

    Args:
        rows: The labeled samples, (M, D); constant features do not count.
    """
    n_varying = int((rows != rows[:1]).any(dim=0).sum())
    return min(float(max(n_varying, 1)), _LARGEST_USUAL_VARIANCE)


@dataclass(frozen=True)
class HeldOut:
    """Predictions of labeled samples by models that were fitted without them.

    Attributes:
        positions: Positions of the samples, int64 (n,).
        log_probabilities: (n, C).
    """

    positions: Tensor
    log_probabilities: Tensor


@dataclass(frozen=True)
class Strength:
    """The result of the choice.

    Attributes:
        precision: Precision of the weights' prior: the factor of ``‖W‖²/2`` added to the summed cross-entropy.
        held_out_loss: Mean cross-entropy of held-out labels; NaN if none could be held out.
        start: Approximate weights (r + 1, C) at that precision, on the labels that the choice used.
        steps: Total number of optimization steps.
        held_out: The predictions at that precision.
    """

    precision: float
    held_out_loss: float
    start: Tensor
    steps: int
    held_out: HeldOut


def choose_strength(features: Features, inputs: Tensor, sample_weights: Tensor, spread: float, seed: int) -> Strength:
    """Choose the precision by stratified cross-validation.

    The score of a precision is the summed cross-entropy of the held-out labels, plus the negative log of a prior: the
    variance of a logit under the weights' prior is log-normal around `usual_variance`, with a standard deviation of
    0.7 decades. With one or two labels per class the prior decides, with many the labels do. A class's only label stays
    in every training part, and copies of a sample are held out together. The search goes from strong to weak by decades
    until one is worse, then tries half a decade around the best.

    Args:
        features: The labeled samples.
        inputs: The original samples, (M, D), used to find copies.
        sample_weights: Weights of the samples, (M,).
        spread: Mean squared length of the features, positive.
        seed: Seed of the folds.
    """
    rows, labels = features.rows, features.labels
    positions = torch.arange(len(labels), device=labels.device)
    if len(labels) > MOST_LABELS:
        drawn = numpy_stream(seed, "labels of the choice").permutation(len(labels))[:MOST_LABELS]
        positions = torch.from_numpy(drawn).to(labels.device)
        features = Features(rows[positions], labels[positions], features.n_classes)
        sample_weights = sample_weights[positions]
    parts = _parts_of(features.labels, inputs[positions], seed)
    search = _Search(features, sample_weights, parts, spread / usual_variance(inputs))
    search.visit_decades()
    middle = search.best.decade
    for decade in (middle - 0.5, middle + 0.5):
        search.visit(decade)
    best = search.best
    predicted = [
        features.log_probabilities(weights, part) for weights, part in zip(best.weights[1:], parts, strict=True)
    ]
    chosen = torch.cat([positions[:0], *parts])
    held_out = HeldOut(positions[chosen], torch.cat([rows.new_empty(0, features.n_classes), *predicted]))
    held_out_loss = best.loss / len(chosen) if len(chosen) else math.nan
    return Strength(best.precision, held_out_loss, best.weights[0], search.steps, held_out)


def held_out_score(features: Features, inputs: Tensor, sample_weights: Tensor, spread: float, seed: int) -> float:
    """Return the approximate score of the best precision; lower is better, 0 if no label can be held out.

    It compares features of the same samples. The search is that of `choose_strength`, by whole decades and less exact;
    the arguments are the same, but all samples are used.
    """
    parts = _parts_of(features.labels, inputs, seed)
    if not parts:
        return 0.0
    search = _Search(features, sample_weights, parts, spread / usual_variance(inputs), _ROUGH_TOLERANCE)
    search.visit_decades()
    return search.best.score


def _parts_of(labels: Tensor, inputs: Tensor, seed: int) -> list[Tensor]:
    """Return the positions of the labels that are held out together, for each fold that has any."""
    folds = torch.from_numpy(stratified_folds(labels.cpu().numpy(), N_FOLDS, seed, copies_of(inputs)))
    parts = [torch.nonzero(folds == number).squeeze(1).to(labels.device) for number in range(N_FOLDS)]
    return [part for part in parts if len(part)]


@dataclass(frozen=True)
class _Visit:
    """One precision: its decade relative to the usual variance, summed held-out loss, score, and the fits' weights."""

    decade: float
    precision: float
    loss: float
    score: float
    weights: Tensor


class _Search:
    """Fits at one precision after another, each starting from the nearest one already fitted."""

    def __init__(
        self,
        features: Features,
        sample_weights: Tensor,
        parts: list[Tensor],
        usual_precision: float,
        tolerance: float = _TOLERANCE,
    ) -> None:
        self._features, self._sample_weights, self._parts = features, sample_weights, parts
        # The first problem has all labels; each of the others lacks one part.
        self._problems = sample_weights.repeat(1 + len(parts), 1)
        for number, part in enumerate(parts, 1):
            self._problems[number, part] = 0.0
        self._tolerance = tolerance
        self._usual_precision = usual_precision
        self._visits: list[_Visit] = []
        self.steps = 0

    @property
    def best(self) -> _Visit:
        """The precision with the lowest score."""
        return min(self._visits, key=lambda visit: visit.score)

    def visit_decades(self) -> None:
        """Go from strong to weak by decades until one is worse."""
        for decade in _COARSE:
            if not self.visit(decade):
                break

    def visit(self, decade: float) -> bool:
        """Fit, and return whether this is the best precision so far."""
        nearest = min(self._visits, key=lambda visit: abs(visit.decade - decade), default=None)
        start = None if nearest is None else nearest.weights
        precision = self._usual_precision / 10**decade
        weights, taken = minimize(self._features, self._problems, precision, start, self._tolerance, _MAX_STEPS)
        self.steps += taken
        loss = 0.0
        for part_weights, part in zip(weights[1:], self._parts, strict=True):
            predicted = self._features.log_probabilities(part_weights, part)
            own = predicted.gather(1, self._features.labels[part, None]).squeeze(1)
            loss -= float((own * self._sample_weights[part]).sum())
        score = loss + 0.5 * (decade / _SPREAD) ** 2
        is_best = not self._visits or score < self.best.score
        self._visits.append(_Visit(decade, precision, loss, score, weights))
        return is_best
