"""Diverse batches: k-means with one sample from each cluster, and the final stage shared by vote, autoal and dbal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_autoal import top_scores
from deepal_strategies.shared.clustering import FULL_PASS_LIMIT, Clusters, k_means

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import QueryContext

# Smallest weight of a row in units of the largest: negligible, but k-means++ can still choose among such rows by
# distance when those with more weight run out.
LEAST_WEIGHT = 1e-6
# The final stage's filter, in batches: its width at this many labels per class, and its limits.
WIDTH = 10.0
LABELS_PER_CLASS = 20
NARROWEST = 3.0
WIDEST = 30.0


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


def select_final(
    context: QueryContext,
    scores: Tensor,
    batch_size: int,
    final: str,
    oversample: int | None,
    weights: Tensor | None = None,
) -> NDArray[np.int64]:
    """Choose a selector's batch from its combined scores.

    Args:
        context: Its candidates are the rows of ``scores``; its seed breaks ties.
        scores: Combined score of each candidate, (N,), higher = more informative.
        batch_size: Number of samples to choose, b.
        final: ``"top"``: the b highest scores. ``"diverse"``: the ``oversample``·b highest (at most all), then
            k-means on the task model's embeddings with one sample from each of b clusters. The b highest
            resemble each other; in our measurements this stage matters more than how the scores are combined.
        oversample: Width of the filter in batches; None for `budget_width`.
        weights: How much each candidate counts in the k-means, (N,), non-negative; all equal by default.

    Returns:
        Pool indices, int64 (b,). The clustering report of `cluster_members` goes into the round's record.
    """
    width = final_width(context, batch_size, final, oversample)
    # A random stream of its own, whatever was drawn before, so compared selectors make the same draws in this stage.
    seed = context.stream_seed("final")
    generator = torch.Generator(scores.device).manual_seed(seed)
    positions: NDArray[np.int64] = top_scores(scores, width, generator).cpu().numpy()
    if final == "diverse":
        # In the pool's order: the scores' last digits, which order the filter, must not change the clusters.
        positions.sort()
        kept = context.candidates.embeddings()[positions]
        shares = None if weights is None else weights[positions]
        chosen, clustering = cluster_members(kept, batch_size, np.random.default_rng(seed), shares)
        context.report(clustering=clustering)
        positions = positions[chosen]
    return context.candidates.indices[positions]


def final_width(context: QueryContext, batch_size: int, final: str, oversample: int | None) -> int:
    """Return how many of the highest scores decide `select_final`'s batch, b ... N."""
    if final == "top":
        return batch_size
    batches = budget_width(len(context.labeled), context.n_classes) if oversample is None else oversample
    return min(len(context.candidates), max(batch_size, round(batches * batch_size)))


def budget_width(n_labeled: int, n_classes: int) -> float:
    """Return the filter's width in batches for a number of labels: 10·sqrt(20·C/M), limited to 3 to 30.

    With few labels a model's scores say little, and diversity must do more; later they can be trusted. The formula
    was chosen on separate development data: compared with a fixed width of 10, it gained most at the lowest and the
    highest budget (benchmarks/autoal).

    Args:
        n_labeled: M.
        n_classes: C; with twenty labels per class the width is 10.
    """
    return min(max(WIDTH * math.sqrt(LABELS_PER_CLASS * n_classes / max(1, n_labeled)), NARROWEST), WIDEST)


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
