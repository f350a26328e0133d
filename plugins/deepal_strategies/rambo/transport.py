"""The optimal-transport dataset distance of subsets to the validation set (OTDD, Alvarez-Melis & Fusi 2020).

The squared ground cost between two labeled samples is ‖x - x'‖² plus the squared Wasserstein distance of the Gaussians
of their classes. Two choices keep it cheap, as the paper says nothing about them. Features are the first principal
components of the labeled samples. And a class's Gaussian is that of all its labeled samples, not of those in the
subset, whose few samples of a class have no covariance to speak of: all subsets then share one matrix of costs, and
Sinkhorn's iterations of many subsets are products of matrices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deepal_strategies.shared.row_blocks import TRANSPORT

if TYPE_CHECKING:
    from torch import Tensor

N_COMPONENTS = 32
# Entropic regularization in units of the mean cost, and the iterations of Sinkhorn's algorithm.
REGULARIZATION = 0.05
N_ITERATIONS = 100


class TransportToValidation:
    """Distances of subsets of S₀ to the validation set, in double precision on the CPU.

    Args:
        features: Of S₀, (k, D).
        labels: Of S₀, (k,).
        validation: Features of the validation set, (V, D).
        validation_labels: (V,).
    """

    def __init__(self, features: Tensor, labels: Tensor, validation: Tensor, validation_labels: Tensor) -> None:
        x, x_v = principal_components(features.cpu().double(), validation.cpu().double(), N_COMPONENTS)
        self.costs = ground_costs(x, labels.cpu(), x_v, validation_labels.cpu())

    def distances(self, memberships: Tensor) -> Tensor:
        """Return OT(ξ, S_val) of subsets, float64 (S,), at least 0.

        Args:
            memberships: Which samples of S₀ are in each subset, at least one, (S, k).
        """
        members = memberships.cpu().double()
        weights = members / members.sum(dim=1, keepdim=True)
        target = self.costs.new_full((self.costs.shape[1],), 1 / self.costs.shape[1])
        found = torch.empty(len(weights), dtype=torch.float64)
        for rows in TRANSPORT.blocks(len(weights), sum(self.costs.shape)):
            found[rows] = sinkhorn(self.costs, weights[rows], target)
        return found


def principal_components(features: Tensor, others: Tensor, n_components: int) -> tuple[Tensor, Tensor]:
    """Return both projected on the first principal components of the former, (k, d) and (V, d)."""
    mean = features.mean(dim=0)
    axes = torch.linalg.svd(features - mean, full_matrices=False)[2][:n_components]
    return (features - mean) @ axes.T, (others - mean) @ axes.T


def ground_costs(x: Tensor, y: Tensor, other_x: Tensor, other_y: Tensor) -> Tensor:
    """Return the squared ground costs ‖x - x'‖² + W₂²(class of x, class of x'), (k, V).

    Args:
        x: (k, d).
        y: Classes, int64 (k,).
        other_x: (V, d).
        other_y: (V,).
    """
    classes, own = np.unique(y.numpy(), return_inverse=True)
    other_classes, other_own = np.unique(other_y.numpy(), return_inverse=True)
    gaussians = [class_gaussian(x[own == one]) for one in range(len(classes))]
    others = [class_gaussian(other_x[other_own == one]) for one in range(len(other_classes))]
    between = x.new_tensor([[gaussian_distance(*one, *other) for other in others] for one in gaussians])
    return torch.cdist(x, other_x).square() + between[own][:, other_own]


def class_gaussian(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean (d,) and square root of the covariance (d, d) of samples (n, d); of one sample, 0."""
    mean = x.mean(dim=0)
    centered = x - mean
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(x))
    return mean, (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def gaussian_distance(mean: Tensor, root: Tensor, other_mean: Tensor, other_root: Tensor) -> float:
    """Return W₂² = ‖μ - μ'‖² + tr(Σ + Σ' - 2(Σ^½ Σ' Σ^½)^½) of two Gaussians.

    The last trace is the sum of the singular values of Σ^½ Σ'^½.

    Args:
        mean: μ, (d,).
        root: Σ^½, (d, d).
        other_mean: μ'.
        other_root: Σ'^½.
    """
    traces = root.square().sum() + other_root.square().sum()
    cross = torch.linalg.svdvals(root @ other_root).sum()
    return max(0.0, float((mean - other_mean).square().sum() + traces - 2 * cross))


def sinkhorn(
    costs: Tensor,
    weights: Tensor,
    target: Tensor,
    regularization: float = REGULARIZATION,
    n_iterations: int = N_ITERATIONS,
) -> Tensor:
    """Return ⟨P, C⟩, (S,), of entropic transport plans P from several distributions over the same points (Cuturi 2013).

    Args:
        costs: C, float64 (k, V), at least 0.
        weights: Distributions over the k points, (S, k); points may have no weight.
        target: Distribution over the V points, positive, (V,).
        regularization: In units of the mean cost.
        n_iterations: Number of iterations.
    """
    unit = costs.mean().clamp_min(torch.finfo(costs.dtype).tiny)
    # A row's or a column's constant does not change the plan; without it, distant points' kernels do not vanish.
    reduced = costs - costs.amin(dim=1, keepdim=True)
    reduced = reduced - reduced.amin(dim=0)
    kernel = torch.exp(-reduced / (regularization * unit))
    least = torch.finfo(costs.dtype).tiny
    v = torch.ones_like(target).expand(len(weights), -1)
    u = weights
    for _ in range(n_iterations):
        u = weights / (v @ kernel.T).clamp_min(least)
        v = target / (u @ kernel).clamp_min(least)
    # One more update of u, so that P's rows have exactly the given weights.
    u = weights / (v @ kernel.T).clamp_min(least)
    return (u * (v @ (kernel * costs).T)).sum(dim=1)
