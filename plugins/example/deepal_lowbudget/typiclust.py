"""TypiClust: one typical sample from each cluster that has no label yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from deepal_autoal import InputError, Query, Strategy
from deepal_lowbudget.clustering import cluster
from deepal_lowbudget.typicality import mean_neighbor_distances

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import PoolView, QueryContext

# Clusters with at most this many samples are outliers rather than groups.
TINY_CLUSTER = 5
# Samples read at a time.
_READ_ROWS = 4096


class TypiClust(Strategy):
    """Typical samples of uncovered clusters (Hacohen, Dekel & Weinshall, ICML 2022).

    All samples, labeled or not, are clustered by k-means into |L| + b clusters, so at least b of them have no
    label. The batch is the most typical sample of each of the b largest such clusters; typicality is the inverse of
    the mean Euclidean distance to the 20 nearest neighbors within the cluster.

    As in the authors' code: at most 500 clusters; at most half of the cluster as neighbors; clusters of at most
    five samples come last; and when large clusters without a label run out, those with the fewest labels follow,
    again the largest first. (Their code repeats one round's order; here a chosen sample counts as a label of its
    cluster, which also works when some clusters run empty.)

    Departures:

    - The paper clusters self-supervised features, scaled to length 1, of a network that has seen the whole pool.
      Here ``features`` are available in any run and unscaled: the inputs as the model gets them, or the task model's
      embeddings, which depend only on the labels so far and change with every round. A pool of precomputed
      embeddings with ``features=inputs`` is closest to the paper.
    - k-means starts once instead of several times, and uses mini-batches where a full pass would take long
      (their code: beyond 50 clusters).
    - Distances are Euclidean as in the paper; the authors' code averages squared distances.
    - Ties between samples of equal typicality and clusters of equal size are broken at random.

    Args:
        features: ``inputs``: the samples themselves, normalized, images as vectors of pixels. ``embeddings``: the
            task model's. ``auto``: inputs if the data are vectors, which may be a table or embeddings of a foundation
            model, otherwise embeddings.
        neighbors: Number of nearest neighbors used for typicality.
        max_clusters: Greatest number of clusters, whatever |L| + b is.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"inputs", "embeddings"})

    def __init__(
        self,
        features: Literal["auto", "inputs", "embeddings"] = "auto",
        neighbors: int = 20,
        max_clusters: int = 500,
    ) -> None:
        if features not in ("auto", "inputs", "embeddings"):
            raise InputError(f"option features is {features!r}; choose one of auto, inputs, embeddings")
        for name, value in (("neighbors", neighbors), ("max_clusters", max_clusters)):
            if value < 1:
                raise InputError(f"option {name} is {value}; it must be at least 1")
        self.features = features
        self.neighbors = neighbors
        self.max_clusters = max_clusters
        if features != "auto":
            self.requires = frozenset({features})

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch; the report holds the features used and the numbers of clusters and of uncovered ones."""
        source = self._source(context)
        rows = feature_rows(context, source)
        # In random order, so no tie is broken by position.
        shuffle = context.rng.permutation(len(rows))
        rows, is_labeled = rows[shuffle], shuffle >= len(context.candidates)
        n_clusters = min(len(context.labeled) + batch_size, self.max_clusters, len(rows))
        clusters = cluster(rows, n_clusters, context.rng)
        chosen = choose(rows, clusters, is_labeled, batch_size, self.neighbors, context.rng, context.progress)
        occupied = np.unique(clusters)
        uncovered = np.setdiff1d(occupied, clusters[is_labeled])
        report = {"features": source, "clusters": len(occupied), "uncovered": len(uncovered)}
        return Query(context.candidates.indices[shuffle[chosen]], report)

    def _source(self, context: QueryContext) -> str:
        if self.features != "auto":
            return self.features
        return "inputs" if context.candidates.inputs([0]).ndim == 2 else "embeddings"


def feature_rows(context: QueryContext, source: str) -> NDArray[np.float32]:
    """Return the features of the candidates, then of the labeled samples, (N + L, D).

    They are in units of the largest, so squares neither overflow nor vanish.

    Args:
        context: The round.
        source: ``"inputs"`` or ``"embeddings"``.
    """
    parts = [part.cpu() for view in (context.candidates, context.labeled) for part in _parts(view, source)]
    rows: NDArray[np.float32] = torch.cat(parts).numpy()
    largest = np.abs(rows).max()
    return rows / largest if largest > 0 else rows


def _parts(view: PoolView, source: str) -> Iterator[Tensor]:
    if source == "embeddings":
        yield view.embeddings()
    else:
        for batch in view.batches(_READ_ROWS):
            yield batch.flatten(1)


def choose(
    rows: NDArray[np.float32],
    clusters: NDArray[np.int64],
    is_labeled: NDArray[np.bool_],
    batch_size: int,
    n_neighbors: int,
    rng: np.random.Generator,
    progress: Callable[[int, int], None],
) -> NDArray[np.int64]:
    """Return the most typical unlabeled samples of the clusters that give samples.

    Labeled samples count as neighbors. Of equally typical samples the first is chosen.

    Args:
        rows: Features, (n, D).
        clusters: Each sample's cluster, (n,).
        is_labeled: Which samples are labeled, (n,).
        batch_size: b, at most as many as there are unlabeled samples.
        n_neighbors: Number of neighbors used for typicality.
        rng: Breaks ties between clusters.
        progress: Called with the number of clusters done and their total.

    Returns:
        Distinct row numbers, int64 (b,).
    """
    quotas = share_out(clusters, is_labeled, batch_size, rng)
    wanted = np.flatnonzero(quotas)
    chosen = []
    for done, number in enumerate(wanted.tolist()):
        progress(done, len(wanted))
        members = np.flatnonzero(clusters == number)
        distances = mean_neighbor_distances(rows[members], n_neighbors)
        free = ~is_labeled[members]
        order = np.argsort(distances[free], kind="stable")
        chosen.append(members[free][order[: quotas[number]]])
    return np.concatenate(chosen)


def share_out(
    clusters: NDArray[np.int64],
    is_labeled: NDArray[np.bool_],
    batch_size: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Return how many samples of the batch each cluster gives.

    Each sample comes from the cluster with the fewest labeled and chosen samples, of several from the largest; ties
    are broken at random. Clusters of at most `TINY_CLUSTER` samples give theirs only when all others are used up.

    Args:
        clusters: Each sample's cluster, (n,).
        is_labeled: Which samples are labeled, (n,).
        batch_size: At most as many as there are unlabeled samples.
        rng: Breaks ties between clusters.

    Returns:
        int64 (largest cluster number + 1,), summing to ``batch_size``; at most each cluster's unlabeled samples.
    """
    sizes = np.bincount(clusters)
    n_clusters = len(sizes)
    covered = np.bincount(clusters[is_labeled], minlength=n_clusters)
    available = sizes - covered
    # One entry per unlabeled sample: at entry t of a cluster it has already given t samples.
    owners = np.repeat(np.arange(n_clusters), available)
    n_given = np.arange(len(owners)) - np.repeat(np.cumsum(available) - available, available)
    priority = rng.permutation(n_clusters)
    order = np.lexsort((priority[owners], -sizes[owners], covered[owners] + n_given, sizes[owners] <= TINY_CLUSTER))
    return np.bincount(owners[order[:batch_size]], minlength=n_clusters)
