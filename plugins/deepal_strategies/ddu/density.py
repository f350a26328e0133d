"""Gaussian discriminant analysis: the density of embeddings under one Gaussian a class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from deepal_autoal import QueryError

if TYPE_CHECKING:
    from torch import Tensor

# Added to the covariances' diagonals, in units of the mean variance: the first that is enough.
JITTERS = (0.0, *(10.0**power for power in range(-20, 1)))
# How many times its greatest rounding error a pivot must be, so that noise does not choose the jitter.
_CLEARANCE = 10
# Covariances that are held at a time, and candidates in the course of a class.
_COVARIANCE_BYTES = 64 << 20
_CANDIDATE_BYTES = 64 << 20


class ClassGaussians:
    """p(h) = Σ_c π_c N(h; μ_c, Σ_c + jitter), with the classes' shares, means and full covariances.

    Everything is computed in float64. Covariances are divided by n_c - 1. Classes without samples have no part.
    A class of one sample takes the covariance that all classes share, Σ_c (n_c - 1) Σ_c / (M - C); where no
    class has two samples, a sphere of the samples' mean variance.

    Fewer samples than dimensions leave a covariance singular. One jitter for all classes makes up for it: the
    smallest of `JITTERS`, in units of the shared covariance's mean variance, with which every Cholesky
    decomposition succeeds (as in the authors' code, whose jitters have no unit). A pivot that is within rounding
    errors counts as failure: whether it is positive is chance. Directions in which a class does not vary then
    dominate its density.

    Args:
        embeddings: Of labelled samples, (M, D), at least one.
        labels: Their classes, int64 (M,).

    Attributes:
        jitter: What was added to the variances.

    Raises:
        QueryError: If no jitter is enough: embeddings are not finite.
    """

    def __init__(self, embeddings: Tensor, labels: Tensor) -> None:
        order = torch.argsort(labels, stable=True)
        rows = _wide(embeddings[order])
        self._counts: list[int] = [count for count in labels.bincount().tolist() if count]
        # Class by class, in the samples' order: sums by atomic additions would differ from run to run on CUDA.
        parts = torch.split(rows, self._counts)
        self._means = [part.mean(dim=0) for part in parts]
        self._centered = [part - mean for part, mean in zip(parts, self._means, strict=True)]
        self._shared, unit = _shared_covariance(rows, self._centered)
        size = max(1, _COVARIANCE_BYTES // (8 * rows.shape[1] ** 2))
        classes = range(len(parts))
        self._groups = [classes[start : start + size] for start in classes[::size]]
        self.jitter = unit * self._enough_jitter(unit)

    def log_density(self, embeddings: Tensor) -> Tensor:
        """Return log p(h), float64 (N,), of embeddings (N, D)."""
        total = _wide(embeddings.new_full((len(embeddings),), -math.inf))
        n_rows = max(1, _CANDIDATE_BYTES // (8 * embeddings.shape[1]))
        for group in self._groups:
            factors = torch.linalg.cholesky(_jittered(self._covariances(group), self.jitter))
            for number, factor in zip(group, factors, strict=True):
                share = self._counts[number] / sum(self._counts)
                log_scale = factor.diagonal().log().sum() + 0.5 * embeddings.shape[1] * math.log(2 * math.pi)
                for start in range(0, len(embeddings), n_rows):
                    part = slice(start, start + n_rows)
                    deviations = _wide(embeddings[part]) - self._means[number]
                    whitened = torch.linalg.solve_triangular(factor, deviations.T, upper=False)
                    terms = math.log(share) - log_scale - 0.5 * whitened.square().sum(dim=0)
                    # Densities themselves underflow in hundreds of dimensions.
                    total[part] = torch.logaddexp(total[part], terms)
        return total

    def _enough_jitter(self, unit: float) -> float:
        """Return the smallest jitter, in units, that all classes can be decomposed with."""
        level = 0
        for group in self._groups:
            covariances = self._covariances(group)
            # What was enough for the groups before stays so: every pivot grows with the jitter.
            while not _is_definite(_jittered(covariances, JITTERS[level] * unit)):
                level += 1
                if level == len(JITTERS):
                    raise QueryError("the embeddings of the labelled samples are not finite: no covariance is definite")
        return JITTERS[level]

    def _covariances(self, group: range) -> Tensor:
        """Return some classes' covariances, (G, D, D)."""
        return torch.stack([self._covariance(number) for number in group])

    def _covariance(self, number: int) -> Tensor:
        centered = self._centered[number]
        return self._shared if len(centered) == 1 else centered.T @ centered / (len(centered) - 1)


def _shared_covariance(rows: Tensor, centered: list[Tensor]) -> tuple[Tensor, float]:
    """Return the covariance within classes, (D, D), and a positive variance as unit."""
    n_rows, n_dims = rows.shape
    if n_rows > len(centered):
        deviations = torch.cat(centered)
        shared = deviations.T @ deviations / (n_rows - len(centered))
        unit = float(shared.diagonal().mean())
        if unit > 0:
            return shared, unit
        # Samples of a class coincide: the jitter alone is their variance.
        return shared, _mean_variance(rows)
    unit = _mean_variance(rows)
    return unit * torch.eye(n_dims, dtype=rows.dtype, device=rows.device), unit


def _mean_variance(rows: Tensor) -> float:
    """Return the mean over dimensions of the variance of all samples; 1 where all coincide."""
    return float(rows.var(dim=0, correction=0).mean()) or 1.0


def _jittered(covariances: Tensor, jitter: float) -> Tensor:
    jittered = covariances.clone()
    jittered.diagonal(dim1=1, dim2=2).add_(jitter)
    return jittered


def _is_definite(covariances: Tensor) -> bool:
    """Whether every Cholesky decomposition succeeds, with pivots well above rounding errors."""
    factors, codes = torch.linalg.cholesky_ex(covariances)
    pivots = factors.diagonal(dim1=1, dim2=2).square()
    rounding = _CLEARANCE * covariances.shape[-1] * torch.finfo(covariances.dtype).eps
    return bool((codes == 0).all() and (pivots > rounding * covariances.diagonal(dim1=1, dim2=2)).all())


def _wide(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, on the CPU where its device has no such type."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
