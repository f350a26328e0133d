"""Diverse batches: k-means with one sample from each cluster, and the final stage that vote, autoal and dbal share."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from deepal_autoal import top_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import QueryContext

# Lloyd iterations; centres hardly move after the first few, and a query must not wait for the last digits.
MAX_ITERATIONS = 20
# N·b·D, the multiplications of one Lloyd iteration, above which mini-batches stand in for full passes.
FULL_PASS_LIMIT = 10**9
# Smallest weight of a row in units of the largest: next to nothing, but k-means++ still tells such rows apart by
# distance when those of more weight run out.
LEAST_WEIGHT = 1e-6
# Beyond it sums of squares come near float32's end.
LARGEST_ENTRY = 1e12
_CHUNK_ROWS = 8192
# The final stage's filter, in batches: its width at so many labels a class, and its limits.
WIDTH = 10.0
LABELS_PER_CLASS = 20
NARROWEST = 3.0
WIDEST = 30.0


def nearest_to_centroids(
    embeddings: Tensor, batch_size: int, rng: np.random.Generator, weights: Tensor | None = None
) -> NDArray[np.int64]:
    """Return exactly ``batch_size`` distinct rows, from each k-means cluster the member nearest to its centre.

    A row belongs to one cluster only, so no row is chosen twice. Where rows coincide there can be fewer clusters
    than asked for; the rest are then random other rows. Rows are shuffled first, so ties never go by position.

    Args:
        embeddings: Shape (N, D), finite.
        batch_size: Number of clusters b, 1 ... N.
        rng: Seeds the shuffle and the clustering.
        weights: How much each row counts in the clusters' centres, (N,), non-negative, in any unit; all alike by
            default, and where all are 0.

    Returns:
        Row numbers, int64 (b,), in random order.
    """
    n_rows = len(embeddings)
    shuffle = rng.permutation(n_rows)
    if batch_size >= n_rows:
        return shuffle
    rows = embeddings.detach().float().cpu().numpy()[shuffle]
    largest = max(rows.max(), -rows.min())  # without a copy: it may be gigabytes
    if largest > LARGEST_ENTRY:
        rows = rows / largest
    shares = None if weights is None else _relative(weights)[shuffle]
    clusters, centers = _cluster(rows, batch_size, int(rng.integers(2**31)), shares)
    distances = np.empty(n_rows, dtype=np.float32)
    for start in range(0, n_rows, _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        distances[part] = np.square(rows[part] - centers[clusters[part]]).sum(axis=1)
    # Stable: of equally near members the first of the shuffled order.
    order = np.lexsort((distances, clusters))
    first_of_cluster = np.unique(clusters[order], return_index=True)[1]
    chosen = order[first_of_cluster]
    if len(chosen) < batch_size:
        others = np.setdiff1d(np.arange(n_rows), chosen)
        chosen = np.concatenate([chosen, others[: batch_size - len(chosen)]])
    return shuffle[chosen]


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
        Pool indices, int64 (b,).
    """
    width = final_width(context, batch_size, final, oversample)
    # Streams of its own, whatever was drawn before: selectors that are compared share the luck of this stage.
    seed = context.stream_seed("final")
    generator = torch.Generator(scores.device).manual_seed(seed)
    positions: NDArray[np.int64] = top_scores(scores, width, generator).cpu().numpy()
    if final == "diverse":
        kept = context.candidates.embeddings()[positions]
        shares = None if weights is None else weights[positions]
        positions = positions[nearest_to_centroids(kept, batch_size, np.random.default_rng(seed), shares)]
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


def _relative(weights: Tensor) -> NDArray[np.float32]:
    """Return weights in units of the largest, none below `LEAST_WEIGHT`; ones where all are 0."""
    values: NDArray[np.float32] = weights.detach().float().cpu().numpy()
    largest = values.max()
    return np.maximum(values / largest, np.float32(LEAST_WEIGHT)) if largest > 0 else np.ones_like(values)


def _cluster(
    rows: NDArray[np.float32], n_clusters: int, seed: int, weights: NDArray[np.float32] | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return each row's cluster and the clusters' centres."""
    if rows.size * n_clusters <= FULL_PASS_LIMIT:
        model = KMeans(n_clusters, n_init=1, max_iter=MAX_ITERATIONS, random_state=seed)
    else:
        model = MiniBatchKMeans(
            n_clusters, n_init=1, max_iter=MAX_ITERATIONS, batch_size=max(1024, 4 * n_clusters), random_state=seed
        )
    # One thread: scikit-learn adds the threads' partial sums in arrival order, which would change the last bits.
    with threadpool_limits(1), warnings.catch_warnings():
        # Fewer distinct rows than clusters: the caller fills up.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows, sample_weight=weights)
    clusters: NDArray[np.int64] = model.labels_.astype(np.int64)
    return clusters, model.cluster_centers_
