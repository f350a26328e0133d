"""Lloyd's iterations in blocks of matrix products, on the rows' device.

How it works: each iteration moves every center to the mean of its members, then assigns each row to its nearest
center. Only the centers of clusters whose members changed are recomputed, and a row whose own center has not moved is
compared only with centers that have. The nearest center is the one with the smallest ½‖c‖² - x·c, which needs one
matrix product for each block of rows.

What an iteration has to do depends on the last one. A CPU reads that and does no more. On other devices, where reading
would wait for all work queued so far, every iteration does the same work, and results that the CPU would not have
computed are masked: once the iterations have ended, nothing changes any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import embedding_bag

from deepal_strategies.shared.row_blocks import PRODUCTS
from deepal_strategies.shared.scaling import squared_norms

if TYPE_CHECKING:
    from torch import Tensor

# Centers have converged when their squared shifts sum to less than this share of the features' mean variance, as in
# scikit-learn.
TOLERANCE = 1e-4


class Lloyd:
    """Lloyd's iterations over rows from given centers.

    Args:
        rows: Float32 (n, D), centered; not changed.
        centers: Float32 (b, D).
        weights: Float32 (n,), positive.

    Attributes:
        centers: The current centers, (b, D).
        labels: The nearest center of each row, int64 (n,).
        moves: How often the centers were moved, int64 (), on the rows' device.
    """

    def __init__(self, rows: Tensor, centers: Tensor, weights: Tensor) -> None:
        self.rows = rows
        self.weights = weights
        self.centers = centers.clone()
        self.moves = torch.zeros((), dtype=torch.int64, device=rows.device)
        self.squares = squared_norms(rows)
        # ½‖c‖² - x·c of the row's own center: it orders the centers as the distance does.
        self._scores, self.labels = nearest_centers(rows, self.centers)
        self._counts = self._count(torch.ones_like(self.labels))
        # Clusters whose members have changed since their center was computed.
        self._changed = torch.ones_like(self._counts, dtype=torch.bool)
        self._has_converged = self.squares.new_zeros((), dtype=torch.bool)
        self._tolerance = TOLERANCE * self.squares.mean() / rows.shape[1]

    def run(self, max_iterations: int) -> None:
        """Iterate until nothing changes, the centers converge, or they have moved ``max_iterations`` times."""
        if self.rows.device.type != "cpu":
            self._run_without_waiting(max_iterations)
            return
        while self.moves < max_iterations:
            n_changed, n_stale, n_empty, has_converged = self._status()
            if n_empty and not has_converged:
                self._fill(n_empty)
                n_changed, n_stale, _, _ = self._status()
            if has_converged or not n_changed:
                break
            self._step(n_changed, n_stale)
            self.moves += 1

    def _run_without_waiting(self, max_iterations: int) -> None:
        """Do the same in operations whose shapes depend on nothing that was computed."""
        n_clusters = len(self.centers)
        has_ended = torch.zeros_like(self._has_converged)
        clusters = torch.arange(n_clusters, device=self.rows.device)
        for _ in range(max_iterations):
            has_ended |= self._has_converged | (self.moves >= max_iterations)
            self._fill(n_clusters, has_ended)
            has_ended |= ~self._changed.any()
            self._changed &= ~has_ended  # then nothing moves, and no row is compared with anything
            self._move(clusters, self.labels.argsort(stable=True))
            self._reassign()
            self.moves += ~has_ended

    def _reassign(self) -> None:
        """Assign the rows of moved centers to the nearest of all, and the others to moved centers that are nearer."""
        before, is_stale = self.labels, self._changed[self.labels]
        scores, nearest = nearest_centers(self.rows, self.centers, unmoved=(~self._changed, ~is_stale))
        is_nearer = is_stale | (scores < self._scores)
        self.labels = torch.where(is_nearer, nearest, before)
        self._scores = torch.where(is_nearer, scores, self._scores)
        self._note_changes(before)

    def distances(self) -> Tensor:
        """Return each row's squared distance to its center, from differences, (n,)."""
        return squared_distances(self.rows, self.centers, self.labels)

    def _status(self) -> list[int]:
        """Return what the next step depends on.

        The numbers of changed clusters, of rows in them, and of empty clusters; and whether the centers have
        converged.
        """
        stale = self._changed[self.labels]
        numbers = (self._changed.sum(), stale.sum(), (self._counts == 0).sum(), self._has_converged.long())
        status: list[int] = torch.stack(numbers).tolist()
        return status

    def _step(self, n_changed: int, n_stale: int) -> None:
        """Move the centers of changed clusters to their members' means and reassign the rows."""
        n_clusters = len(self.centers)
        moved = _first(self._changed, n_changed)
        # Rows of moved centers, cluster by cluster, then the others.
        order = torch.where(self._changed[self.labels], self.labels, n_clusters).argsort(stable=True)
        stale, others = order[:n_stale], order[n_stale:]
        self._move(moved, stale)
        before = self.labels.clone()
        rows, centers = self.rows, self.centers
        self._scores[stale], self.labels[stale] = nearest_centers(rows, centers, stale)
        if n_stale < len(rows):
            scores, nearest = nearest_centers(rows, centers[moved], others)
            is_nearer = scores < self._scores[others]
            self.labels[others] = torch.where(is_nearer, moved[nearest], self.labels[others])
            self._scores[others] = torch.minimum(scores, self._scores[others])
        self._note_changes(before)

    def _note_changes(self, before: Tensor) -> None:
        """Update the clusters' counts, and which have changed, from the labels before."""
        is_other = (before != self.labels).long()
        left = torch.zeros_like(self._counts).scatter_add_(0, before, is_other)
        joined = self._count(is_other)
        self._counts += joined - left
        self._changed = (left + joined) > 0

    def _move(self, moved: Tensor, members: Tensor) -> None:
        """Move changed centers, among those of given numbers, (m,), to the means of their members.

        Args:
            moved: The numbers.
            members: All their members, sorted by cluster.
        """
        counts = self._counts[moved]
        before = self.centers[moved]
        sums, totals = sum_groups(self.rows, self.weights, members, counts)
        after = torch.where((totals > 0) & self._changed[moved, None], sums / totals, before)
        self.centers[moved] = after
        self._has_converged = (after - before).square().sum() <= self._tolerance

    def _fill(self, n_most: int, has_ended: Tensor | None = None) -> None:
        """Give each empty cluster one of the rows farthest from their centers, unless those coincide with them.

        Args:
            n_most: How many clusters are empty, or more.
            has_ended: Whether to change nothing, bool ().
        """
        squared = self.squares + 2.0 * self._scores
        # Less than this may be rounding alone, as in the seeding.
        noise = 64.0 * torch.finfo(squared.dtype).eps * (self.squares + self.centers.square().sum(dim=1).max())
        far = torch.where(squared > noise, self.weights * squared, 0.0).topk(min(n_most, len(squared)))
        # The empty ones first; a row beyond their number stays where it is.
        empty = _first(self._counts == 0, n_most)[: len(far.indices)]
        donors = self.labels[far.indices]
        is_far = (far.values > 0) & (self._counts[empty] == 0)
        if has_ended is not None:
            is_far &= ~has_ended
        self.labels[far.indices] = torch.where(is_far, empty, donors)
        # Added up, as a cluster may give several rows, of which only some are far.
        moves = torch.zeros_like(self._counts)
        for clusters in (donors, empty):
            moves.scatter_add_(0, clusters, is_far.long())
        self._changed |= moves > 0
        self._counts = self._count(torch.ones_like(self.labels))

    def _count(self, values: Tensor) -> Tensor:
        """Return the sums of integers by cluster, int64 (b,)."""
        return values.new_zeros(len(self.centers)).scatter_add_(0, self.labels, values)


def nearest_centers(
    rows: Tensor, centers: Tensor, which: Tensor | None = None, unmoved: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Return the nearest centers' scores ½‖c‖² - x·c and numbers.

    Args:
        rows: (n, D).
        centers: (b, D).
        which: Numbers of the rows to assign; all by default.
        unmoved: Which centers, bool (b,), to leave out for which rows, bool (n,); their scores may be infinite.
    """
    n_rows = len(rows) if which is None else len(which)
    halves = 0.5 * squared_norms(centers)
    scores, nearest = rows.new_empty(n_rows), torch.empty(n_rows, dtype=torch.int64, device=rows.device)
    width = max(len(centers), rows.shape[1])
    # Allocated once: short-lived large tensors cost page faults.
    products = rows.new_empty(min(PRODUCTS.rows(width, rows.device), n_rows) * len(centers))
    for part in PRODUCTS.blocks(n_rows, width, rows.device):
        block = rows[part] if which is None else rows[which[part]]
        scored = compare(block, centers, halves, products[: len(block) * len(centers)].view(len(block), -1))
        if unmoved is not None:
            scored.masked_fill_(unmoved[0] & unmoved[1][part, None], torch.inf)
        torch.min(scored, dim=1, out=(scores[part], nearest[part]))
    return scores, nearest


def compare(block: Tensor, centers: Tensor, halves: Tensor, out: Tensor) -> Tensor:
    """Write ½‖c‖² - x·c of each row of a block and each center, (n, m), to ``out`` and return it."""
    return torch.addmm(halves, block, centers.T, alpha=-1.0, out=out)


def sum_groups(rows: Tensor, weights: Tensor, members: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return weighted sums of groups of rows, (m, D), and the sums of their weights, (m, 1).

    Each sum is computed in the order of its rows by one thread, so it is reproducible bit for bit, also on a GPU.

    Args:
        rows: Float32 (n, D).
        weights: Float32 (n,).
        members: Row numbers, group by group, int64.
        counts: Number of rows in each group, int64 (m,).
    """
    starts = counts.cumsum(dim=0) - counts
    sums = embedding_bag(members, rows, starts, mode="sum", per_sample_weights=weights[members])
    return sums, embedding_bag(members, weights[:, None], starts, mode="sum")


def squared_distances(rows: Tensor, centers: Tensor, labels: Tensor) -> Tensor:
    """Return each row's squared distance to its center, from differences, (n,)."""
    distances = rows.new_empty(len(rows))
    for part in PRODUCTS.blocks(len(rows), rows.shape[1], rows.device):
        torch.sum((rows[part] - centers[labels[part]]).square_(), dim=1, out=distances[part])
    return distances


def _first(flags: Tensor, n_set: int) -> Tensor:
    """Return the numbers of the set flags, (n_set,), like `nonzero`, which would wait for the device."""
    return (~flags).to(torch.int8).argsort(stable=True)[:n_set]
