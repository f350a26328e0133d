"""Gaussian discriminant analysis: the density of embeddings under one Gaussian per class."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

from deepal_autoal import QueryError
from deepal_strategies.ddu.low_rank_density import ThinGaussians, thin_whitening
from deepal_strategies.shared.row_blocks import COVARIANCES, DENSITIES

if TYPE_CHECKING:
    from torch import Tensor

# Added to the covariances' diagonals, in units of the mean variance: the first sufficient one.
JITTERS = (0.0, *(10.0**power for power in range(-20, 1)))
# A pivot must be this many times its greatest rounding error, or noise would choose the jitter.
_CLEARANCE = 10


class ClassGaussians:
    """p(h) = Σ_c π_c N(h; μ_c, Σ_c + jitter), with the classes' shares, means and full covariances.

    Everything is computed in float64. Covariances are divided by n_c - 1. Classes without samples are ignored.
    A class of one sample takes the shared covariance of all classes, Σ_c (n_c - 1) Σ_c / (M - C); where no
    class has two samples, a sphere with the samples' mean variance.

    With fewer samples than dimensions a covariance is singular. One jitter for all classes fixes that: the
    smallest of `JITTERS`, in units of the shared covariance's mean variance, with which every Cholesky
    decomposition succeeds (as in the authors' code, whose jitters have no unit). A pivot within rounding errors
    counts as a failure, as its sign is random. Directions in which a class does not vary then dominate its density.

    A class of at most D samples is never decomposed (see `ThinGaussians`). Without the jitter its last pivots would be
    0, so the jitter alone must be well above the rounding errors of the class's mean variance. Its decomposition
    would need the same jitter within a power of ten, but the value would depend on the order of the dimensions.

    Args:
        embeddings: Of labeled samples, (M, D), at least one.
        labels: Their classes, int64 (M,).

    Attributes:
        jitter: Amount added to the variances.

    Raises:
        QueryError: If embeddings are not finite, or no jitter is sufficient.
    """

    def __init__(self, embeddings: Tensor, labels: Tensor) -> None:
        order = torch.argsort(labels, stable=True)
        rows = _wide(embeddings[order])
        if not rows.isfinite().all():
            raise QueryError(
                "the embeddings of the labeled samples are not finite; train the model at a lower learning rate"
            )
        # Means near 0 keep digits; densities do not change. The origin is rounded, so differences of single precision
        # have bits to spare: the mean of equal rows is then exact, and their variance 0.
        self._origin = _wide(rows.mean(dim=0).to(embeddings.dtype))
        rows = rows - self._origin
        n_dims = rows.shape[1]
        self._counts: list[int] = [count for count in labels.bincount().tolist() if count]
        # Class by class, in the samples' order: on CUDA, atomic additions would make sums differ from run to run.
        parts = torch.split(rows, self._counts)
        self._means = torch.stack([part.mean(dim=0) for part in parts])
        self._centered = [part - mean for part, mean in zip(parts, self._means, strict=True)]
        sizes = list(enumerate(self._counts))
        self._full = [number for number, count in sizes if count > n_dims and count > 1]
        # Sorted by size, as the classes of a group are padded to the largest.
        thin = [number for number, count in sizes if 1 < count <= n_dims]
        self._thin = sorted(thin, key=lambda number: self._counts[number])
        self._single = [number for number, count in sizes if count == 1]
        self._shared = torch.cat([self._centered[number] for number in sorted(self._full + self._thin)] or [rows[:0]])
        self._degrees = len(rows) - len(parts)
        # Where samples of a class coincide, the jitter alone is their variance.
        unit = float(self._shared.square().sum()) / max(1, self._degrees) / n_dims or _mean_variance(rows)
        self._sphere = unit
        self.jitter = unit * self._enough_jitter(unit)

    def log_density(self, embeddings: Tensor) -> Tensor:
        """Return log p(h), float64 (N,), of embeddings (N, D)."""
        total = _wide(embeddings.new_full((len(embeddings),), -math.inf))
        n_dims = embeddings.shape[1]
        shares = [math.log(count / sum(self._counts)) for count in self._counts]

        def add(numbers: list[int], n_numbers: int, log_densities: Callable[[Tensor], Tensor]) -> None:
            """Add the part of some classes; ``n_numbers`` is how many float64 numbers a candidate needs meanwhile."""
            own = torch.tensor([shares[number] for number in numbers], dtype=total.dtype).to(total.device)
            for part in DENSITIES.blocks(len(embeddings), 8 * n_numbers):
                terms = log_densities(_wide(embeddings[part]) - self._origin) + own
                # Densities themselves underflow in hundreds of dimensions.
                total[part] = torch.logaddexp(total[part], terms.logsumexp(dim=1))

        for group in self._full_groups():
            factors = torch.linalg.cholesky(_jittered(self._covariances(group), self.jitter))
            for number, factor in zip(group, factors, strict=True):
                add([number], 4 * n_dims, _full_log_density(factor, self._means[number]))
        for group in self._thin_groups():
            thin = ThinGaussians([self._centered[number] for number in group], self._means[group], self.jitter)
            add(group, thin.numbers_per_sample, thin.log_densities)
        if self._single:
            add(self._single, 4 * n_dims + 3 * len(self._single), self._single_log_densities())
        return total

    def _enough_jitter(self, unit: float) -> float:
        """Return the smallest jitter, in units, that is sufficient for all classes."""
        level = 0
        variance = self._thin_variance()
        if variance is not None:
            # The last of the jitters is far above any rounding.
            enough = (jitter * unit > self._rounding() * (variance + jitter * unit) for jitter in JITTERS)
            level = list(enough).index(True)
        for covariances in self._full_covariances():
            # A jitter sufficient for earlier groups remains so: every pivot grows with the jitter.
            while not _is_definite(_jittered(covariances, JITTERS[level] * unit), self._rounding()):
                level += 1
                if level == len(JITTERS):
                    raise QueryError(
                        "no jitter makes the covariances of the labeled samples' embeddings definite; "
                        "train the model at a lower learning rate"
                    )
        return JITTERS[level]

    def _rounding(self) -> float:
        """Return the value that a pivot must exceed, as a share of its variance."""
        return _CLEARANCE * len(self._origin) * torch.finfo(self._origin.dtype).eps

    def _thin_variance(self) -> float | None:
        """Return the greatest mean variance of the classes that are not decomposed; None if there are none."""
        sums = [self._centered[number].square().sum() / (self._counts[number] - 1) for number in self._thin]
        if self._single and 0 < self._degrees < len(self._origin):
            sums.append(self._shared.square().sum() / self._degrees)
        return float(torch.stack(sums).max()) / len(self._origin) if sums else None

    def _full_covariances(self) -> Iterator[Tensor]:
        """Yield the covariances to decompose, (G, D, D), some at a time."""
        for group in self._full_groups():
            yield self._covariances(group)
        if self._single and self._degrees >= len(self._origin):
            yield self._shared_covariance()[None]

    def _full_groups(self) -> Iterator[list[int]]:
        return (self._full[group] for group in COVARIANCES.blocks(len(self._full), 8 * len(self._origin) ** 2))

    def _thin_groups(self) -> Iterator[list[int]]:
        group: list[int] = []
        for number in self._thin:
            if len(group) >= COVARIANCES.rows(8 * self._counts[number] * len(self._origin)):
                yield group
                group = []
            group.append(number)
        if group:
            yield group

    def _covariances(self, group: list[int]) -> Tensor:
        """Return some classes' covariances, (G, D, D)."""
        parts = (self._centered[number] for number in group)
        return torch.stack([part.T @ part / (len(part) - 1) for part in parts])

    def _shared_covariance(self) -> Tensor:
        return self._shared.T @ self._shared / self._degrees

    def _single_log_densities(self) -> Callable[[Tensor], Tensor]:
        """Return log N(h; class) of the classes with one sample, (n, S), as a function of samples (n, D)."""
        n_dims = len(self._origin)
        if not self._degrees:
            deviation = math.sqrt(self._sphere + self.jitter)
            whiten: Callable[[Tensor], Tensor] = lambda samples: samples / deviation  # noqa: E731
            log_determinant = torch.tensor(2 * n_dims * math.log(deviation), dtype=self._origin.dtype)
        elif self._degrees < n_dims:
            whiten, log_determinant = thin_whitening(self._shared, self._degrees, self.jitter)
        else:
            factor = torch.linalg.cholesky(_jittered(self._shared_covariance()[None], self.jitter))[0]
            whiten = _solver(factor)
            log_determinant = 2 * factor.diagonal().log().sum()
        means = whiten(self._means[self._single])
        scale = 0.5 * (log_determinant.to(means.device) + n_dims * math.log(2 * math.pi))

        def log_densities(samples: Tensor) -> Tensor:
            # From differences: products would lose the digits of samples near a mean.
            distances = torch.cdist(whiten(samples), means, compute_mode="donot_use_mm_for_euclid_dist")
            return -0.5 * distances.square() - scale

        return log_densities


def _solver(factor: Tensor) -> Callable[[Tensor], Tensor]:
    """Return samples (n, D) ↦ L⁻¹·samples, (n, D)."""
    return lambda samples: torch.linalg.solve_triangular(factor, samples.T, upper=False).T


def _full_log_density(factor: Tensor, mean: Tensor) -> Callable[[Tensor], Tensor]:
    """Return log N(h; mean, L·Lᵀ), (n, 1), as a function of samples (n, D)."""
    whiten = _solver(factor)
    scale = factor.diagonal().log().sum() + 0.5 * len(mean) * math.log(2 * math.pi)
    return lambda samples: -0.5 * whiten(samples - mean).square().sum(dim=1, keepdim=True) - scale


def _mean_variance(rows: Tensor) -> float:
    """Return the mean over dimensions of the variance of all samples; 1 where all coincide."""
    return float(rows.var(dim=0, correction=0).mean()) or 1.0


def _jittered(covariances: Tensor, jitter: float) -> Tensor:
    jittered = covariances.clone()
    jittered.diagonal(dim1=1, dim2=2).add_(jitter)
    return jittered


def _is_definite(covariances: Tensor, rounding: float) -> bool:
    """Whether every Cholesky decomposition succeeds, with pivots well above rounding errors."""
    factors, codes = torch.linalg.cholesky_ex(covariances)
    pivots = factors.diagonal(dim1=1, dim2=2).square()
    return bool((codes == 0).all() and (pivots > rounding * covariances.diagonal(dim1=1, dim2=2)).all())


def _wide(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, on the CPU if its device lacks that type."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
