"""k-means by Lloyd's iterations in blocks of matrix products, on the rows' device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import embedding_bag

from deepal_strategies.magnitude import unit_of
from deepal_strategies.seeding import seed_by_distance

if TYPE_CHECKING:
    from torch import Tensor

# Lloyd iterations; centres hardly move after the first few, and a query must not wait for the last digits.
MAX_ITERATIONS = 20
# Centres are at rest when their squared shifts sum to less than this share of the features' mean variance, as in
# scikit-learn.
TOLERANCE = 1e-4
# N·b·D, the multiplications of one pass over all rows, above which Lloyd runs on a subset: two cores take about a
# minute for the passes of such a query.
FULL_PASS_LIMIT = 2e11
# Rows of that subset, for each cluster.
SUBSET_ROWS = 64
# Numbers in a block of rows or products: on a CPU it should fit the cache, on a GPU fill the device.
_BLOCK_CPU = 1 << 20
_BLOCK_GPU = 1 << 26


@dataclass(frozen=True)
class Clusters:
    """A clustering of N rows into b clusters, of which some may be empty.

    Attributes:
        labels: Each row's cluster, int64 (N,).
        distances: Its squared Euclidean distance to the cluster's centre, float32 (N,), of scaled rows.
        unit: The power of two that rows were multiplied by, so that squares neither overflow nor vanish.
        n_used: How many rows took part in the iterations: N, or the subset's size.
        n_iterations: How often the centres were moved.
    """

    labels: Tensor
    distances: Tensor
    unit: float
    n_used: int
    n_iterations: int

    def inertia(self) -> float:
        """Return the sum of all rows' squared distances to their centres, in the rows' own unit, unweighted."""
        return float(self.distances.sum(dtype=torch.float64)) / self.unit / self.unit


@torch.no_grad()
def k_means(
    rows: Tensor,
    n_clusters: int,
    generator: torch.Generator,
    weights: Tensor | None = None,
    full_pass_limit: float = FULL_PASS_LIMIT,
) -> Clusters:
    """Cluster rows by k-means: k-means++ (Arthur & Vassilvitskii 2007), then Lloyd's iterations (Lloyd 1982).

    Iterations end when no row changes its cluster, when the centres are at rest (`TOLERANCE`), or after
    `MAX_ITERATIONS`; each row is then in the cluster of the nearest centre. Products are computed in single precision
    on centred rows: a row's centre is at most about 2 √D ε (‖x‖² + ‖c‖²) farther, in squared distance, than the
    nearest, ε = 1.2e-7 and norms taken from the mean. Nothing depends on the order in which threads add.

    Work is saved without changing the result: a row is compared with centres that moved only, as long as its own has
    not. An empty cluster takes the row farthest from its centre (by weighted squared distance), if any row is off its
    centre.

    Where N·b·D is above ``full_pass_limit``, k-means++ and the iterations see a random subset of `SUBSET_ROWS` rows a
    cluster (at most N), and one pass then assigns all rows to the centres.

    Time: two passes over the rows for each iteration at worst, O(N·b·D). Memory: one copy of the rows that take part
    in the iterations, O(N + b·D) numbers and blocks of bounded size.

    Args:
        rows: Shape (N, D), finite, floating.
        n_clusters: b, 1 ... N.
        generator: On the rows' device.
        weights: How much each row counts, (N,), positive, in any unit; all alike by default.
        full_pass_limit: See above.
    """
    n_rows, n_features = rows.shape
    n_subset = SUBSET_ROWS * n_clusters
    is_full = n_rows <= n_subset or float(n_rows) * n_clusters * n_features <= full_pass_limit
    unit = unit_of(rows)
    if is_full:
        used = rows
    else:
        subset = torch.randperm(n_rows, generator=generator, device=rows.device)[:n_subset].sort().values
        used, weights = rows[subset], None if weights is None else weights[subset]
    mean = _mean(used, unit)
    used = _centred(used, unit, mean)
    shares = torch.ones_like(used[:, 0]) if weights is None else weights.to(used.dtype)
    seeds = seed_by_distance(used.new_ones(len(used), 1), used, n_clusters, generator, shares, "drawn")
    lloyd = Lloyd(used, used[seeds], shares)
    lloyd.run(MAX_ITERATIONS)
    if is_full:
        labels, distances = lloyd.labels, lloyd.distances()
    else:
        labels, distances = _assign_all(rows, unit, mean, lloyd.centers)
    return Clusters(labels, distances, unit, len(used), lloyd.n_iterations)


class Lloyd:
    """Lloyd's iterations over rows from given centres.

    Args:
        rows: Float32 (n, D), centred; not changed.
        centers: Float32 (b, D).
        weights: Float32 (n,), positive.

    Attributes:
        centers: Where the centres are now, (b, D).
        labels: The nearest centre of each row, int64 (n,).
        n_iterations: How often the centres were moved.
    """

    def __init__(self, rows: Tensor, centers: Tensor, weights: Tensor) -> None:
        self.rows = rows
        self.weights = weights
        self.centers = centers.clone()
        self.n_iterations = 0
        self.squares = _squared_norms(rows)
        # ½‖c‖² - x·c of the row's own centre, which orders the centres as the distance does.
        self._scores, self.labels = _nearest(rows, self.centers)
        self._counts = self._count(torch.ones_like(self.labels))
        # Clusters whose members are others than when their centre was computed.
        self._changed = torch.ones_like(self._counts, dtype=torch.bool)
        self._at_rest = self.squares.new_zeros((), dtype=torch.bool)
        self._tolerance = TOLERANCE * self.squares.mean() / rows.shape[1]

    def run(self, max_iterations: int) -> None:
        """Iterate until nothing changes, the centres are at rest, or centres were moved ``max_iterations`` times."""
        while self.n_iterations < max_iterations:
            n_changed, n_stale, n_empty, at_rest = self._look()
            if n_empty and not at_rest:
                self._fill(n_empty)
                n_changed, n_stale, _, _ = self._look()
            if at_rest or not n_changed:
                break
            self._step(n_changed, n_stale)
            self.n_iterations += 1

    def distances(self) -> Tensor:
        """Return each row's squared distance to its centre, from differences, (n,)."""
        return _squared_distances(self.rows, self.centers, self.labels)

    def _look(self) -> list[int]:
        """Return what the next step depends on; the one place that waits for the device.

        Those are the number of changed clusters, of the rows in them, of empty clusters, and whether the centres are
        at rest.
        """
        stale = self._changed[self.labels]
        numbers = (self._changed.sum(), stale.sum(), (self._counts == 0).sum(), self._at_rest.long())
        looked: list[int] = torch.stack(numbers).tolist()
        return looked

    def _step(self, n_changed: int, n_stale: int) -> None:
        """Move the centres of changed clusters to their members' means and reassign the rows."""
        n_clusters = len(self.centers)
        moved = _first(self._changed, n_changed)
        # Rows of moved centres, cluster by cluster, then the others.
        order = torch.where(self._changed[self.labels], self.labels, n_clusters).argsort(stable=True)
        stale, others = order[:n_stale], order[n_stale:]
        self._move(moved, stale)
        before = self.labels.clone()
        rows, centers = self.rows, self.centers
        self._scores[stale], self.labels[stale] = _nearest(rows, centers, stale)
        if n_stale < len(rows):
            scores, nearest = _nearest(rows, centers[moved], others)
            is_nearer = scores < self._scores[others]
            self.labels[others] = torch.where(is_nearer, moved[nearest], self.labels[others])
            self._scores[others] = torch.minimum(scores, self._scores[others])
        is_other = (before != self.labels).long()
        left = torch.zeros_like(self._counts).scatter_add_(0, before, is_other)
        joined = self._count(is_other)
        self._counts += joined - left
        self._changed = (left + joined) > 0

    def _move(self, moved: Tensor, members: Tensor) -> None:
        """Move centres, given as (m,), to the means of their members, which are in the order of their clusters."""
        counts = self._counts[moved]
        bounds = counts.cumsum(dim=0) - counts
        # Each sum in the order of its rows, by one thread: bit for bit the same again, on a GPU too.
        shares = self.weights[members]
        sums = embedding_bag(members, self.rows, bounds, mode="sum", per_sample_weights=shares)
        totals = embedding_bag(members, self.weights[:, None], bounds, mode="sum")
        before = self.centers[moved]
        after = torch.where(totals > 0, sums / totals, before)
        self.centers[moved] = after
        self._at_rest = (after - before).square().sum() <= self._tolerance

    def _fill(self, n_empty: int) -> None:
        """Give each empty cluster one of the rows farthest from their centres, unless those are at their centres."""
        squared = self.squares + 2.0 * self._scores
        # Rounding, as in the seeding.
        noise = 64.0 * torch.finfo(squared.dtype).eps * (self.squares + self.centers.square().sum(dim=1).max())
        far = torch.where(squared > noise, self.weights * squared, 0.0).topk(min(n_empty, len(squared)))
        empty = _first(self._counts == 0, n_empty)[: len(far.indices)]
        donors = self.labels[far.indices]
        is_far = far.values > 0
        self.labels[far.indices] = torch.where(is_far, empty, donors)
        # A row that stays counts out and in again.
        self._changed[donors] |= is_far
        self._changed[empty] |= is_far
        self._counts = self._count(torch.ones_like(self.labels))

    def _count(self, values: Tensor) -> Tensor:
        """Return the sums of whole numbers by cluster, int64 (b,)."""
        return values.new_zeros(len(self.centers)).scatter_add_(0, self.labels, values)


def _nearest(rows: Tensor, centers: Tensor, which: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the scores ½‖c‖² - x·c and numbers of the nearest centres of rows, all or those of given numbers."""
    n_rows = len(rows) if which is None else len(which)
    halves = 0.5 * _squared_norms(centers)
    scores, nearest = rows.new_empty(n_rows), torch.empty(n_rows, dtype=torch.int64, device=rows.device)
    size = _block_rows(rows, max(len(centers), rows.shape[1]))
    # Made once: large tensors that come and go cost page faults.
    products = rows.new_empty(min(size, n_rows) * len(centers))
    for start in range(0, n_rows, size):
        block = rows[start : start + size] if which is None else rows[which[start : start + size]]
        part = slice(start, start + len(block))
        scored = compare(block, centers, halves, products[: len(block) * len(centers)].view(len(block), -1))
        torch.min(scored, dim=1, out=(scores[part], nearest[part]))
    return scores, nearest


def compare(block: Tensor, centers: Tensor, halves: Tensor, out: Tensor) -> Tensor:
    """Return ½‖c‖² - x·c of each row of a block and each centre, (n, m), written to ``out``."""
    return torch.addmm(halves, block, centers.T, alpha=-1.0, out=out)


def _assign_all(rows: Tensor, unit: float, mean: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Return all rows' nearest centres and their squared distances, from rows that are neither scaled nor centred."""
    labels, distances = [], []
    for part in rows.split(_block_rows(rows, rows.shape[1]) * 4):
        block = _centred(part, unit, mean)
        nearest = _nearest(block, centers)[1]
        labels.append(nearest)
        distances.append(_squared_distances(block, centers, nearest))
    return torch.cat(labels), torch.cat(distances)


def _squared_distances(rows: Tensor, centers: Tensor, labels: Tensor) -> Tensor:
    size = _block_rows(rows, rows.shape[1])
    parts = zip(rows.split(size), labels.split(size), strict=True)
    return torch.cat([(block - centers[nearest]).square_().sum(dim=1) for block, nearest in parts])


def _squared_norms(rows: Tensor) -> Tensor:
    return torch.cat([part.square().sum(dim=1) for part in rows.split(_block_rows(rows, rows.shape[1]))])


def _mean(rows: Tensor, unit: float) -> Tensor:
    """Return the mean of the scaled rows, float32 (D,)."""
    parts = rows.split(_block_rows(rows, rows.shape[1]))
    sums = torch.stack([(part.float() * unit).sum(dim=0) for part in parts])
    return sums.sum(dim=0) / len(rows)


def _centred(rows: Tensor, unit: float, mean: Tensor) -> Tensor:
    return (rows.float() * unit).sub_(mean)


def _first(flags: Tensor, n_set: int) -> Tensor:
    """Return the numbers of the set flags, (n_set,): as `nonzero`, which would wait for the device."""
    return (~flags).to(torch.int8).argsort(stable=True)[:n_set]


def _block_rows(rows: Tensor, width: int) -> int:
    """Return how many rows of so many numbers make a block."""
    numbers = _BLOCK_CPU if rows.device.type == "cpu" else _BLOCK_GPU
    return max(256, numbers // width)
