"""Diverse batches: k-means with one sample from each cluster, and the final stage that vote, autoal and dbal share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_autoal import top_scores
from deepal_strategies.clustering import FULL_PASS_LIMIT, Clusters, k_means

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import QueryContext

# Smallest weight of a row in units of the largest: next to nothing, but k-means++ still tells such rows apart by
# distance when those of more weight run out.
LEAST_WEIGHT = 1e-6
# The final stage's filter, in batches: its width at so many labels a class, and its limits.
WIDTH = 10.0
LABELS_PER_CLASS = 20
NARROWEST = 3.0
WIDEST = 30.0


def nearest_to_centroids(
    embeddings: Tensor, batch_size: int, rng: np.random.Generator, weights: Tensor | None = None
) -> NDArray[np.int64]:
    """Return exactly ``batch_size`` distinct rows, from each k-means cluster the member nearest to its centre.

    See `cluster_members`, of whose answer these are the rows.
    """
    return cluster_members(embeddings, batch_size, rng, weights)[0]


def cluster_members(
    embeddings: Tensor,
    batch_size: int,
    rng: np.random.Generator,
    weights: Tensor | None = None,
    full_pass_limit: float = FULL_PASS_LIMIT,
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Return distinct rows, from each k-means cluster the member nearest to its centre, and how they were found.

    A row belongs to one cluster only, so no row is chosen twice. Where rows coincide there can be fewer clusters
    than asked for; the rest are then random other rows. Ties never go by position.

    Args:
        embeddings: Shape (N, D), finite.
        batch_size: Number of clusters b, 1 ... N.
        rng: Seeds the clustering and decides ties.
        weights: How much each row counts in the clusters' centres, (N,), non-negative, in any unit; all alike by
            default, and where all are 0.
        full_pass_limit: N·b·D above which the centres come from a random subset (see `k_means`).

    Returns:
        Row numbers, int64 (b,), in random order; and a report of the clustering: ``form`` (``"full"``, ``"subset"``,
        or ``"all"`` where every row is taken), ``rows`` (that took part in the iterations), ``iterations``, and
        ``inertia``, the sum of all rows' squared distances to their centres, unweighted.
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
    # The chosen ones before all others; both at random.
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
        context: Its candidates are the rows of ``scores``; its seed decides between equal scores.
        scores: Combined score of each candidate, (N,), higher = more informative.
        batch_size: How many to choose, b.
        final: ``"top"``: the b highest scores. ``"diverse"``: the ``oversample``·b highest (at most all), then
            k-means on the task model's embeddings with one sample from each of b clusters. The highest b
            resemble each other; in our measurements this stage matters more than how the scores are combined.
        oversample: Width of the filter in batches; None for `budget_width`.
        weights: How much each candidate counts in the k-means, (N,), non-negative; all alike by default.

    Returns:
        Pool indices, int64 (b,). What `cluster_members` tells of the clustering goes to the round's record.
    """
    width = final_width(context, batch_size, final, oversample)
    # Streams of its own, whatever was drawn before: selectors that are compared share the luck of this stage.
    seed = context.stream_seed("final")
    generator = torch.Generator(scores.device).manual_seed(seed)
    positions: NDArray[np.int64] = top_scores(scores, width, generator).cpu().numpy()
    if final == "diverse":
        # In the pool's order: the last digits of scores, which order the filter, are not to change the clusters.
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
    """Return the filter's width in batches for a number of labels: 10·sqrt(20·C/M), but 3 to 30.

    What a model of few labels holds for informative is hardly so, and diversity must do more; later the scores can be
    believed. Chosen on development data of its own: over a fixed width of 10 it gained most at the lowest and the
    highest budget (benchmarks/autoal).

    Args:
        n_labeled: M.
        n_classes: C; with twenty labels a class the width is 10.
    """
    return min(max(WIDTH * math.sqrt(LABELS_PER_CLASS * n_classes / max(1, n_labeled)), NARROWEST), WIDEST)


def _relative(weights: Tensor) -> Tensor:
    """Return weights in units of the largest, none below `LEAST_WEIGHT`; ones where all are 0."""
    values = weights.detach().float()
    largest = values.max()
    return torch.where(largest > 0, (values / largest).clamp(min=LEAST_WEIGHT), 1.0)


def _is_nearest(clusters: Clusters, n_clusters: int, priority: Tensor) -> Tensor:
    """Return which row is the nearest of its cluster to the centre, of equally near ones that of most priority."""
    labels, distances = clusters.labels, clusters.distances
    # Neither depends on the order in which a device works.
    least = distances.new_full((n_clusters,), torch.inf).scatter_reduce_(0, labels, distances, "amin")
    claims = torch.where(distances == least[labels], priority, -1)
    strongest = priority.new_full((n_clusters,), -1).scatter_reduce_(0, labels, claims, "amax")
    return (claims >= 0) & (claims == strongest[labels])
