"""Diverse batches: k-means with one sample from each cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_strategies.shared.clustering import FULL_PASS_LIMIT, Clusters, k_means

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

# Smallest weight of a row in units of the largest: negligible, but k-means++ can still choose among such rows by
# distance when those with more weight run out.
LEAST_WEIGHT = 1e-6


def cluster_members(
    embeddings: Tensor,
    batch_size: int,
    rng: np.random.Generator,
    weights: Tensor | None = None,
    full_pass_limit: float = FULL_PASS_LIMIT,
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Return distinct rows, from each k-means cluster the member nearest to its center, and a report.

    A row belongs to one cluster only, so no row is chosen twice. Where rows coincide there can be fewer clusters
    than requested; random other rows then fill the batch. Ties are never broken by position.

    Args:
        embeddings: Shape (N, D), finite.
        batch_size: Number of clusters b, 1 ... N.
        rng: Seeds the clustering and breaks ties.
        weights: How much each row counts in the clusters' centers, (N,), non-negative, in any unit; all equal by
            default, and where all are 0.
        full_pass_limit: N·b·D above which the centers come from a random subset (see `k_means`).

    Returns:
        Row numbers, int64 (b,), in random order; and a report of the clustering: ``form`` (``"full"``, ``"subset"``,
        or ``"all"`` where every row is taken), ``rows`` (number used in the iterations), ``iterations``, and
        ``inertia``, the sum of all rows' squared distances to their centers, unweighted.
    """
    n_rows = len(embeddings)
    seed = int(rng.integers(2**63 - 1))
    if batch_size >= n_rows:
        return rng.permutation(n_rows), {"form": "all", "rows": n_rows, "iterations": 0, "inertia": 0.0}
    rows = embeddings.detach()
    if rows.device.type == "mps":  # lacks some of the operations
        rows = rows.cpu()
    generator = torch.Generator(rows.device).manual_seed(seed)
    shares = None if weights is None else _relative(weights).to(rows.device)
    clusters = k_means(rows, batch_size, generator, shares, full_pass_limit)
    priority = torch.randperm(n_rows, generator=generator, device=rows.device)
    # Chosen rows come before all others, both in random order.
    priority += n_rows * _is_nearest(clusters, batch_size, priority)
    chosen: NDArray[np.int64] = priority.topk(batch_size).indices.cpu().numpy()
    return chosen, {
        "form": "full" if clusters.n_used == n_rows else "subset",
        "rows": clusters.n_used,
        "iterations": clusters.n_iterations,
        "inertia": clusters.inertia(),
    }


def _relative(weights: Tensor) -> Tensor:
    """Return weights in units of the largest, none below `LEAST_WEIGHT`; ones where all are 0."""
    values = weights.detach().float()
    largest = values.max()
    return torch.where(largest > 0, (values / largest).clamp(min=LEAST_WEIGHT), 1.0)


def _is_nearest(clusters: Clusters, n_clusters: int, priority: Tensor) -> Tensor:
    """Return which rows are nearest to their clusters' centers; of equally near rows, the one of highest priority."""
    labels, distances = clusters.labels, clusters.distances
    # Minima and maxima do not depend on the order in which a device works.
    least = distances.new_full((n_clusters,), torch.inf).scatter_reduce_(0, labels, distances, "amin")
    claims = torch.where(distances == least[labels], priority, -1)
    strongest = priority.new_full((n_clusters,), -1).scatter_reduce_(0, labels, claims, "amax")
    return (claims >= 0) & (claims == strongest[labels])
