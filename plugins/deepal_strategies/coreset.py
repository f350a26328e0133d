"""Core-set selection: k-center greedy on the embeddings.

How it works: the next sample is always the one farthest from its nearest center, and then becomes a center itself
(farthest-first traversal, Gonzalez 1985). Distances to the nearest center only fall, so an outdated distance is an
upper bound, and its negative a key of a lazy greedy choice (see `lazy_greedy`). With few numbers, computing all
distances after every choice is faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepal_autoal import Strategy
from deepal_strategies.shared.lazy_greedy import choose_eagerly, choose_in_turn, choose_lazily
from deepal_strategies.shared.option_checks import check_at_least
from deepal_strategies.shared.row_blocks import DISTANCES
from deepal_strategies.shared.scaling import scaled, squared_norms, unit_of
from deepal_strategies.shared.taken_rows import TakenRows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import QueryContext

# Numbers n·D up to which a CPU computes all distances after every choice: at most half a millisecond.
_FEW_NUMBERS = 1 << 19


class CoreSet(Strategy):
    """Repeatedly the candidate farthest from all labeled and chosen ones (Sener & Savarese, ICLR 2018).

    The paper's greedy 2-approximation of k-center on the task model's embeddings, by Euclidean distance. The paper
    refines it by a mixed-integer program, which is not part of this strategy. Without labeled samples the first
    sample is random.

    Args:
        pca: Number of principal components of candidates and labeled samples on which distances are computed, as in
            DeepAL+ (Zhan et al. 2022), which takes 32; by default the embeddings themselves. Where there are no more
            dimensions than that, it changes nothing.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"embeddings"})

    def __init__(self, pca: int | None = None) -> None:
        if pca is not None:
            check_at_least("pca", pca, 1)
        self.pca = pca

    def query(self, context: QueryContext, batch_size: int) -> NDArray[np.int64]:
        """Return the batch, in the order in which it was chosen."""
        positions = farthest_first(*self._points(context), batch_size, context.generator)
        queried: NDArray[np.int64] = context.candidates.indices[positions.cpu().numpy()]
        return queried

    def picks_in_turn(self, context: QueryContext, batch_size: int, taken: Sequence[int]) -> Iterator[int]:
        """Yield the candidate farthest from all labeled and taken ones, one at a time."""
        rows, centers = self._points(context)
        queue = _DistanceQueue.at_start(rows, centers, batch_size, context.generator)
        n_centers = len(centers)
        if n_centers:
            queue.update(0, n_centers)
        known = TakenRows(context, taken)
        for row in choose_in_turn(queue, n_centers, n_centers + batch_size, known.others):
            yield known.own(row)

    def _points(self, context: QueryContext) -> tuple[Tensor, Tensor]:
        """Return candidates and labeled samples as points between which distances are computed."""
        rows, centers = context.candidates.embeddings(), context.labeled.embeddings()
        if self.pca is not None and self.pca < rows.shape[1]:
            rows, centers = principal_components((rows, centers), self.pca)
        return rows, centers


def principal_components(parts: Sequence[Tensor], n_components: int) -> list[Tensor]:
    """Return rows in the directions of their greatest variance, each part's as (n_i, n_components).

    From the covariance matrix, in double precision where the device has it: O(n·D²), and D² numbers whatever n.

    Args:
        parts: Each of shape (n_i, D), float32, finite; together at least one row.
        n_components: 1 ... D.
    """
    exact = torch.float32 if parts[0].device.type == "mps" else torch.float64
    width = parts[0].shape[1]
    mean = torch.stack([part.sum(dim=0, dtype=exact) for part in parts]).sum(dim=0) / sum(map(len, parts))

    def centered(part: Tensor) -> Iterator[Tensor]:
        for block in DISTANCES.blocks(len(part), width, part.device):
            yield part[block].to(exact) - mean

    covariance = mean.new_zeros(width, width)
    for part in parts:
        for rows in centered(part):
            covariance.addmm_(rows.T, rows)
    axes = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :n_components]
    return [
        torch.cat([part.new_empty(0, n_components), *((rows @ axes).to(part.dtype) for rows in centered(part))])
        for part in parts
    ]


def farthest_first(rows: Tensor, centers: Tensor, n_chosen: int, generator: torch.Generator) -> Tensor:
    """Return rows by farthest-first traversal, starting from given centers.

    On a CPU most rows are never updated again (`choose_lazily`), except where there are few numbers. Distances are
    computed from differences: from squared norms and inner products, single precision would lose those within tight
    clusters. On a CPU such products show, with a bound on their rounding, which pairs need no difference. Ties are
    broken at random.

    Time: products of all rows with the m centers, and of those pairs of a row and a choice that have to be computed,
    at worst all n · n_chosen. Memory: the centers, the chosen rows, some 40 bytes a row, blocks of bounded size, and
    an active set of rows that is small where most are pruned, and at most half of all.

    Args:
        rows: Shape (n, D), float32, finite.
        centers: Shape (m, D); may be empty.
        n_chosen: Number of rows to choose, 1 ... n.
        generator: On the rows' device.

    Returns:
        Distinct row numbers, int64 (n_chosen,), in the order of the choices.

    Raises:
        QueryError: If a row or center is not finite.
    """
    queue = _DistanceQueue.at_start(rows, centers, n_chosen, generator)
    n_centers = len(centers)
    if n_centers:
        queue.update(0, n_centers)
    if rows.device.type != "cpu":
        return choose_eagerly(queue, n_centers, n_centers + n_chosen)
    if rows.numel() <= _FEW_NUMBERS:
        return _choose_farthest(queue, n_chosen)
    # Without a center all distances are infinite, and the first choice changes every one.
    n_first = 0 if n_centers else 1
    first = choose_eagerly(queue, n_centers, n_centers + n_first)
    return torch.cat([first, choose_lazily(queue, n_centers + n_first, n_centers + n_chosen)])


def _choose_farthest(queue: _DistanceQueue, n_chosen: int) -> Tensor:
    """Do what `choose_eagerly` does with as few calls as possible, as calls dominate the cost for few numbers."""
    # By priority, so that the first of several farthest rows is the one to choose.
    order = queue.priority.argsort(descending=True)
    # Dimension by dimension, so that vector instructions go across rows.
    columns = np.ascontiguousarray(queue.rows[order].numpy().T)
    squared = queue.distances[order].numpy() ** 2
    differences, sums = np.empty_like(columns), np.empty_like(columns[0])
    chosen = np.empty(n_chosen, dtype=np.int64)
    for number in range(n_chosen):
        row = squared.argmax()
        chosen[number] = row
        np.subtract(columns, columns[:, row, None], out=differences)
        np.square(differences, out=differences).sum(axis=0, out=sums)
        np.minimum(squared, sums, out=squared)
        squared[row] = -1.0  # never chosen again, though other rows may coincide with it
    return order[chosen]


class _DistanceQueue:
    """Rows with their distance to the nearest center, as a `PriorityQueue`: the farthest row is next.

    Attributes:
        rows: Shape (n, D).
        squares: Their squared lengths, (n,).
        priority: Breaks ties between equal distances, the highest first, int64 (n,).
        distances: Distance to the nearest of the centers that the row includes, float32 (n,); -1 for chosen rows.
        centers: The given centers and then the chosen rows, (m + b, D), with their squared lengths.
    """

    rows: Tensor
    squares: Tensor
    priority: Tensor
    distances: Tensor
    centers: tuple[Tensor, Tensor]

    @classmethod
    def at_start(cls, rows: Tensor, centers: Tensor, n_chosen: int, generator: torch.Generator) -> _DistanceQueue:
        """Return all rows, not yet updated for any center."""
        self = cls()
        self.priority = torch.randperm(len(rows), generator=generator, device=rows.device)
        unit = unit_of(rows, centers)
        self.rows = scaled(rows, unit)
        self.squares = squared_norms(self.rows)
        self.distances = torch.full_like(self.squares, torch.inf, dtype=torch.float32)
        given = scaled(centers, unit)
        self.centers = (torch.cat([given, given.new_empty(n_chosen, given.shape[1])]),
                        torch.cat([squared_norms(given), self.squares.new_empty(n_chosen)]))  # fmt: skip
        return self

    def __len__(self) -> int:
        return len(self.distances)

    def take(self, rows: Tensor) -> _DistanceQueue:
        part = _DistanceQueue()
        part.rows, part.squares = self.rows[rows], self.squares[rows]
        part.priority, part.distances = self.priority[rows], self.distances[rows]
        part.centers = self.centers
        return part

    def put(self, rows: Tensor, part: _DistanceQueue) -> None:
        self.distances[rows] = part.distances

    def keys(self) -> Tensor:
        # As integers, the bits of non-negative floats have the order of the floats; negative floats come before them.
        return -((self.distances.view(torch.int32).to(torch.int64) << 32) + self.priority)

    def record(self, number: int, row: Tensor, key: Tensor | None) -> None:
        centers, squares = self.centers
        centers[number : number + 1], squares[number : number + 1] = self.rows[row], self.squares[row]
        # It is never chosen again, though other rows may coincide with it.
        self.distances.index_fill_(0, row, -1.0)

    def update(self, first: int, last: int) -> None:
        centers, squares = (part[first:last] for part in self.centers)
        on_cpu = self.rows.device.type == "cpu"
        # Off the CPU, differences need no memory of their own.
        width = max(last - first, self.rows.shape[1]) if on_cpu else last - first
        for part in DISTANCES.blocks(len(self), width, self.rows.device):
            rows, distances = self.rows[part], self.distances[part]
            if on_cpu:
                _lower(distances, rows, self.squares[part], centers, squares)
            else:
                # A search for pairs would wait for the device at every choice.
                exact = torch.cdist(rows, centers, compute_mode="donot_use_mm_for_euclid_dist")
                self.distances[part] = torch.minimum(distances, exact.amin(dim=1).float())


def _lower(distances: Tensor, rows: Tensor, squares: Tensor, centers: Tensor, center_squares: Tensor) -> None:
    """Lower distances (n,) to the distance from the nearest of some centers where that is less, in place.

    Products show which rows have no nearer center among these, and which center is a row's nearest; where their
    rounding leaves that open, products in double precision decide. The distance itself is that of the difference.
    """
    # Sums of D products round by at most D units in the last place of the sum of their sizes, in any order.
    slack = (rows.shape[1] + 8) * torch.finfo(rows.dtype).eps
    margin = slack * (squares + center_squares.max())
    squared = (rows @ centers.T).mul_(-2.0).add_(squares[:, None]).add_(center_squares)
    # A distance of 0 cannot fall, and -1 marks a chosen row.
    limit = (distances.square() + margin).where(distances > 0, -torch.inf)
    if len(centers) == 1:
        changed = (squared.squeeze(1) <= limit).nonzero().squeeze(1)
        others = centers
    else:
        least, nearest = squared.min(dim=1)
        changed = (least <= limit).nonzero().squeeze(1)
        rivals = (squared[changed] <= (least + 2.0 * margin)[changed, None]).sum(dim=1)
        unsure = changed[rivals > 1]
        if len(unsure):
            precise = centers.double()
            # The row's own square is the same for all centers.
            nearest[unsure] = (precise.square().sum(dim=1) - 2.0 * rows[unsure].double() @ precise.T).argmin(dim=1)
        others = centers[nearest[changed]]
    if len(changed):
        exact = torch.linalg.vector_norm(rows[changed].sub_(others), dim=1).float()
        distances[changed] = torch.minimum(distances[changed], exact)
