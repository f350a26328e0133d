"""Gaussians of at most as many samples as dimensions, from the directions in which the samples vary."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn.utils.rnn import pad_sequence

if TYPE_CHECKING:
    from torch import Tensor

# Below this share of ‖h‖² + ‖μ‖², a difference of squares has too few digits left.
_CLOSE = 1e-5


class ThinGaussians:
    """Gaussians N(μ_c, V_cᵀ diag(λ_c) V_c + jitter·I) of G classes with at most D samples each.

    The rows of V_c are the right singular vectors of the class's deviations, λ_c = s²/(n_c - 1). With d = h - μ_c
    and d⊥ the part of d outside the rows' span, the squared Mahalanobis distance is
    Σ_k (v_k·d)²/(λ_k + jitter) + ‖d⊥‖²/jitter: exact, and n_c·D operations per sample instead of D². Directions with
    λ = 0, which equal samples produce, count as outside wherever they point.

    Args:
        centered: Deviations of each class from its mean, (n_c, D), n_c at most D, float64.
        means: (G, D).
        jitter: Positive.
    """

    def __init__(self, centered: Sequence[Tensor], means: Tensor, jitter: float) -> None:
        # Rows of zeros add directions with λ = 0.
        _, singular, self._bases = torch.linalg.svd(pad_sequence(list(centered), batch_first=True), full_matrices=False)
        degrees = torch.tensor([len(part) - 1.0 for part in centered], dtype=means.dtype).to(means.device)
        variances = singular.square() / degrees[:, None] + jitter
        n_dims = means.shape[1]
        self._means = means
        self._jitter = jitter
        # Directions before classes: sums over directions then go across classes, of which there are more.
        self._directions = self._bases.transpose(0, 1).flatten(0, 1)
        self._precisions = variances.reciprocal().T.contiguous()
        self._log_determinants = variances.log().sum(dim=1) + (n_dims - variances.shape[1]) * math.log(jitter)
        self._mean_places = torch.einsum("grd,gd->rg", self._bases, means)

    @property
    def numbers_per_sample(self) -> int:
        """How many numbers `log_densities` holds for each sample."""
        n_directions, n_classes = self._precisions.shape
        return int(2 * self._means.shape[1] + (2 * n_directions + 4) * n_classes)

    def log_densities(self, samples: Tensor) -> Tensor:
        """Return log N(h; class), (n, G), of samples (n, D), float64."""
        places = samples @ self._directions.T
        squares = (places.view(len(samples), *self._mean_places.shape) - self._mean_places).square_()
        scale = samples.square().sum(dim=1, keepdim=True) + self._means.square().sum(dim=1)
        outside = torch.addmm(scale, samples, self._means.T, alpha=-2.0) - squares.sum(dim=1)
        inside = squares.mul_(self._precisions).sum(dim=1)
        distances = inside + outside / self._jitter
        # Where little is left outside, it is computed from differences, as the difference of squares loses its digits.
        rows, classes = (outside <= _CLOSE * scale).nonzero(as_tuple=True)
        for number in classes.unique().tolist():
            own = rows[classes == number]
            distances[own, number] = self._close_distances(samples[own] - self._means[number], number)
        n_dims = samples.shape[1]
        result: Tensor = -0.5 * (distances + self._log_determinants + n_dims * math.log(2 * math.pi))
        return result

    def _close_distances(self, deviations: Tensor, number: int) -> Tensor:
        basis = self._bases[number]
        places = deviations @ basis.T
        outside = deviations - places @ basis
        # Twice, as the first projection leaves rounding errors relative to what it removed.
        outside -= outside @ basis.T @ basis
        result: Tensor = places.square() @ self._precisions[:, number] + outside.square().sum(dim=1) / self._jitter
        return result


def thin_whitening(rows: Tensor, degrees: int, jitter: float) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Return samples ↦ (Σ + jitter·I)^(-1/2)·samples, both (n, D), and log det(Σ + jitter·I).

    Σ is rowsᵀ·rows/degrees.

    Args:
        rows: (M, D), float64, of a rank below D.
        degrees: Degrees of freedom.
        jitter: Positive, and far above the rounding errors of Σ.
    """
    _, singular, basis = torch.linalg.svd(rows, full_matrices=False)
    variances = singular.square() / degrees + jitter
    outside = 1 / math.sqrt(jitter)
    change = variances.rsqrt() - outside

    def whiten(samples: Tensor) -> Tensor:
        return torch.addmm(outside * samples, (samples @ basis.T) * change, basis)

    return whiten, variances.log().sum() + (rows.shape[1] - len(variances)) * math.log(jitter)
