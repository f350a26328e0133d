"""TypiClust: one typical sample from each cluster that has no label yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from deepal_autoal import Query, Strategy
from deepal_strategies.shared.clustering import k_means
from deepal_strategies.shared.option_checks import check_at_least, check_choice
from deepal_strategies.shared.row_blocks import NEIGHBORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import QueryContext

# Clusters with at most this many samples are outliers rather than groups.
TINY_CLUSTER = 5


class TypiClust(Strategy):
    """Typical samples of the clusters with the fewest labels (Hacohen, Dekel & Weinshall, ICML 2022).

    k-means puts all samples, labeled or not, into |L| + b clusters, at most 500. Those with the fewest labeled samples
    come first, of several the largest; in this order each cluster in turn gives its most typical sample until there
    are b. Typicality is the inverse of the mean squared distance to the 20 nearest neighbors in the cluster, without
    samples that are labeled or already chosen; of fewer than 40 samples, half are neighbors. This is TPC_RP, the
    k-means form; the paper writes plain distances, its results are those of the authors' code, which squares them.

    Departures:

    - The authors drop clusters of at most five samples; here those come last, when all others are used up. A cluster
      without unlabeled samples is passed over; the authors' code fails there.
    - All sizes are clustered by one form of k-means (see `k_means`); the authors use mini-batches beyond 50 clusters.
    - Embeddings are taken as they are. The paper's are self-supervised features of length 1, which ``--scaling l2``
      makes of vectors.
    - Ties between equally typical samples and between equal clusters are broken at random.

    Args:
        neighbors: Number of nearest neighbors.
        max_clusters: Greatest number of clusters, whatever |L| + b is.
        distance: ``squared``, as in the authors' code, or ``euclidean``, as the paper writes.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"embeddings"})

    def __init__(
        self, neighbors: int = 20, max_clusters: int = 500, distance: Literal["squared", "euclidean"] = "squared"
    ) -> None:
        check_at_least("neighbors", neighbors, 1)
        check_at_least("max_clusters", max_clusters, 1)
        check_choice("distance", distance, ("squared", "euclidean"))
        self.neighbors = neighbors
        self.max_clusters = max_clusters
        self.distance = distance

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch, in the order of the turns; the report counts clusters, and those without a label."""
        embeddings = torch.cat([view.embeddings() for view in (context.candidates, context.labeled)])
        if embeddings.device.type == "mps":  # lacks some of the operations
            embeddings = embeddings.cpu()
        generator = torch.Generator(embeddings.device).manual_seed(int(context.rng.integers(2**63 - 1)))
        n_labeled = len(context.labeled)
        n_clusters = min(n_labeled + batch_size, self.max_clusters)
        clusters = k_means(embeddings, n_clusters, generator).labels.cpu().numpy()
        squared = self.distance == "squared"
        chosen = typical_batch(
            embeddings, clusters, n_labeled, batch_size, context.rng, self.neighbors, squared, progress=context.progress
        )
        occupied = np.unique(clusters)
        uncovered = np.setdiff1d(occupied, clusters[len(context.candidates) :])
        return Query(context.candidates.indices[chosen], {"clusters": len(occupied), "uncovered": len(uncovered)})


def typical_batch(
    rows: Tensor,
    clusters: NDArray[np.int64],
    n_labeled: int,
    batch_size: int,
    rng: np.random.Generator,
    n_neighbors: int = 20,
    squared: bool = True,
    inverse: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.int64]:
    """Return the positions of the batch, int64 (b,), in the order of the clusters' turns.

    Args:
        rows: Embeddings, (n, D); the labeled samples are the last ones and are never chosen.
        clusters: Each row's cluster, (n,).
        n_labeled: Number of labeled samples.
        batch_size: b, at most as many as there are unlabeled samples.
        rng: Breaks ties.
        n_neighbors: See `most_typical`.
        squared: See `most_typical`.
        inverse: Whether the smallest clusters come first and give their least typical samples.
        progress: Called with the number of clusters done and their total.
    """
    n_candidates = len(rows) - n_labeled
    givers = take_turns(clusters, np.arange(len(rows)) >= n_candidates, batch_size, rng, inverse)
    # In random order, so no tie is broken by position.
    order = rng.permutation(n_candidates)
    order = order[np.argsort(clusters[order], kind="stable")]
    numbers, counts = np.unique(givers, return_counts=True)
    bounds = np.searchsorted(clusters[order], [numbers, numbers + 1])
    picks = []
    for done, (start, end, count) in enumerate(zip(*bounds.tolist(), counts.tolist(), strict=True)):
        progress(done, len(numbers))
        members = torch.as_tensor(order[start:end], device=rows.device)
        picks.append(members[most_typical(rows[members], count, n_neighbors, squared, inverse)])
    chosen = np.empty(batch_size, dtype=np.int64)
    chosen[np.argsort(givers, kind="stable")] = torch.cat(picks).cpu().numpy()
    return chosen


def take_turns(
    clusters: NDArray[np.int64],
    is_labeled: NDArray[np.bool_],
    batch_size: int,
    rng: np.random.Generator,
    inverse: bool = False,
) -> NDArray[np.int64]:
    """Return the cluster that gives each sample of the batch, (b,), in turns.

    Clusters with the fewest labeled samples come first, of several the largest; ties are broken at random. Clusters of
    at most `TINY_CLUSTER` samples, labeled or not, give theirs when all others are used up. If ``inverse``, of several
    the smallest comes first, however small it is.

    Args:
        clusters: Each sample's cluster, (n,).
        is_labeled: Which samples are labeled, (n,).
        batch_size: At most as many as there are unlabeled samples.
        rng: Breaks ties.
        inverse: See above.
    """
    sizes = np.bincount(clusters)
    covered = np.bincount(clusters[is_labeled], minlength=len(sizes))
    available = sizes - covered
    ranks = np.empty(len(sizes), dtype=np.int64)
    ranks[np.lexsort((rng.permutation(len(sizes)), sizes if inverse else -sizes, covered))] = np.arange(len(sizes))
    # One entry for each unlabeled sample: a cluster's turns are 0, 1, ...
    owners = np.repeat(np.arange(len(sizes)), available)
    turns = np.arange(len(owners)) - np.repeat(np.cumsum(available) - available, available)
    order = np.lexsort((ranks[owners], turns, (sizes[owners] <= TINY_CLUSTER) & (not inverse)))
    givers: NDArray[np.int64] = owners[order[:batch_size]]
    return givers


@torch.no_grad()
def most_typical(rows: Tensor, n_chosen: int, n_neighbors: int, squared: bool = True, inverse: bool = False) -> Tensor:
    """Return positions of the most typical rows, int64 (n_chosen,), each typical of those that are left.

    A choice changes only the neighborhoods it belonged to, so only those are computed again. Of equally typical rows
    the first is chosen. Time: O(n²·D + n_chosen·n·D) with few neighbors.

    Args:
        rows: Shape (n, D), finite.
        n_chosen: 1 ... n.
        n_neighbors: Number of neighbors, at least 1; at most half of the rows that are left, rounded down.
        squared: Whether distances are squared before their mean.
        inverse: Whether the least typical rows are chosen instead.
    """
    # In single precision the differences of products could not distinguish close neighbors.
    rows = rows.double()
    squares = rows.square().sum(dim=1)
    is_left = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    spreads = squares.new_full((len(rows),), torch.inf)
    farthest = spreads.clone()
    chosen = torch.empty(n_chosen, dtype=torch.int64, device=rows.device)
    stale, used = torch.arange(len(rows), device=rows.device), min(n_neighbors, len(rows) // 2)
    for number in range(n_chosen):
        for part in NEIGHBORS.blocks(len(stale), max(len(rows), used * rows.shape[1]), rows.device):
            which = stale[part]
            if used:
                nearest = _nearest_distances(rows, squares, is_left, which, used)
                farthest[which] = nearest[:, -1]
                spreads[which] = (nearest if squared else nearest.sqrt()).mean(dim=1)
            else:  # a single row
                spreads[which] = 0.0
        # Shape (1,): indexing by a number would wait for the device.
        best = (spreads.argmax if inverse else spreads.argmin)(dim=0, keepdim=True)
        chosen[number : number + 1] = best
        if number == n_chosen - 1:
            break
        is_left[best] = False
        spreads[best] = -torch.inf if inverse else torch.inf
        before, used = used, min(n_neighbors, (len(rows) - number - 1) // 2)
        is_stale = is_left
        if used == before:
            # With some allowance for rounding: too many may be computed again, but none too few.
            both = squares + squares[best]
            distances = both - 2.0 * (rows @ rows[best].T).squeeze(1)
            is_stale = is_left & (distances <= farthest + 1e-9 * farthest + 1e-12 * both)
        stale = is_stale.nonzero().squeeze(1)
    return chosen


def _nearest_distances(rows: Tensor, squares: Tensor, is_left: Tensor, which: Tensor, count: int) -> Tensor:
    """Return some rows' squared distances to the nearest other rows that are left, ascending, (m, count).

    Neighbors are found by products and their distances then computed from differences: those of coinciding rows are
    exactly 0, and equal neighborhoods tie.
    """
    own = rows[which]
    closeness = torch.addmm(squares, own, rows.T, alpha=-2.0).masked_fill_(~is_left, torch.inf)
    closeness.scatter_(1, which[:, None], torch.inf)
    nearest = closeness.topk(count, dim=1, largest=False).indices
    return (rows[nearest] - own[:, None]).square_().sum(dim=2).sort(dim=1).values
