"""k-means of many rows: a good start, then Lloyd's iterations; above a given size on a subset."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from deepal_strategies.shared.lloyd import Lloyd, nearest_centers, squared_distances, sum_groups
from deepal_strategies.shared.row_blocks import PRODUCTS
from deepal_strategies.shared.scaling import squared_norms, unit_of
from deepal_strategies.shared.seeding import seed_by_distance

if TYPE_CHECKING:
    from torch import Tensor

# Lloyd iterations: centers hardly move after the first few, and a query need not wait for the last digits.
MAX_ITERATIONS = 20
# N·b·D, the multiplications of one pass over all rows, above which Lloyd runs on a subset. On two cores a query with
# 50,000 rows of 512 numbers and 1,000 clusters, an eighth of the limit, took 6 s.
FULL_PASS_LIMIT = 2e11
# Rows of that subset per cluster.
SUBSET_ROWS = 64
# Rows drawn for the start per cluster, and then reduced to one.
OVERSAMPLING = 2


@dataclass(frozen=True)
class Clusters:
    """A clustering of N rows into b clusters, some of which may be empty.

    Attributes:
        labels: Each row's cluster, int64 (N,).
        distances: Each row's squared Euclidean distance to the cluster's center, float32 (N,), of scaled rows.
        unit: The power of two that rows were multiplied by, so that squares neither overflow nor vanish.
        n_used: Number of rows used in the iterations: N, or the subset's size.
        n_iterations: How often the centers were moved.
    """

    labels: Tensor
    distances: Tensor
    unit: float
    n_used: int
    n_iterations: int

    def inertia(self) -> float:
        """Return the sum of all rows' squared distances to their centers, in the rows' own unit, unweighted."""
        return float(self.distances.sum(dtype=torch.float64)) / self.unit / self.unit


@torch.no_grad()
def k_means(
    rows: Tensor,
    n_clusters: int,
    generator: torch.Generator,
    weights: Tensor | None = None,
    full_pass_limit: float = FULL_PASS_LIMIT,
) -> Clusters:
    """Cluster rows by k-means: Lloyd's iterations (Lloyd 1982) from `start_centers`.

    Iterations end when no row changes its cluster, when the centers have converged (`TOLERANCE`), or after
    `MAX_ITERATIONS`; each row is then in the cluster of the nearest center. Products are computed in single precision
    on centered rows: in squared distance, a row's center is at most about 2 √D ε (‖x‖² + ‖c‖²) farther than the
    nearest, with ε = 1.2e-7 and norms taken from the mean. The result is reproducible with the same number of threads.

    Work is saved without changing the result: a row whose own center has not moved is compared only with centers that
    have. An empty cluster takes the row farthest from its center (by weighted squared distance), if any row is off its
    center.

    Where N·b·D is above ``full_pass_limit``, start and iterations use a random subset of `SUBSET_ROWS` rows per
    cluster (at most N), and one pass then assigns all rows to the centers.

    Time: at worst two passes over the rows in each iteration, O(N·b·D). Memory: one copy of the rows used in the
    iterations, O(N + b·D) numbers and blocks of bounded size.

    Args:
        rows: Shape (N, D), finite, floating.
        n_clusters: b, 1 ... N.
        generator: On the rows' device.
        weights: How much each row counts, (N,), positive, in any unit; all equal by default.
        full_pass_limit: See above.

    Raises:
        QueryError: If a row is not finite.
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
    used = _centered(used, unit, mean)
    shares = torch.ones_like(used[:, 0]) if weights is None else weights.to(used.dtype)
    lloyd = Lloyd(used, start_centers(used, n_clusters, generator, shares), shares)
    lloyd.run(MAX_ITERATIONS)
    if is_full:
        labels, distances = lloyd.labels, lloyd.distances()
    else:
        labels, distances = _assign_all(rows, unit, mean, lloyd.centers)
    return Clusters(labels, distances, unit, len(used), int(lloyd.moves))


def start_centers(rows: Tensor, n_clusters: int, generator: torch.Generator, weights: Tensor) -> Tensor:
    """Return centers to start from, float32 (b, D).

    k-means++ draws `OVERSAMPLING` · b rows, and each represents the rows nearest to it by their mean and weight;
    k-means of these few points then gives b centers. Scalable k-means++ (Bahmani et al. 2012) does the same, but draws
    in rounds. On well-separated clusters k-means++ alone left some without a center, with an inertia 15% above
    scikit-learn's.

    Args:
        rows: Float32 (n, D), centered.
        n_clusters: b, 1 ... n.
        generator: On the rows' device.
        weights: Float32 (n,), positive.
    """
    n_drawn = min(len(rows), OVERSAMPLING * n_clusters)
    drawn = seed_by_distance(rows.new_ones(len(rows), 1), rows, n_drawn, generator, weights, "drawn")
    labels = nearest_centers(rows, rows[drawn])[1]
    counts = torch.zeros_like(drawn).scatter_add_(0, labels, torch.ones_like(labels))
    sums, totals = sum_groups(rows, weights, labels.argsort(stable=True), counts)
    points = torch.where(totals > 0, sums / totals, rows[drawn])
    # Where rows coincide, some drawn rows have no members.
    totals = totals.squeeze(1).clamp(min=float(torch.finfo(totals.dtype).tiny))
    lloyd = Lloyd(points, points[greedy_seeds(points, n_clusters, generator, totals)], totals)
    lloyd.run(MAX_ITERATIONS)
    return lloyd.centers


def greedy_seeds(rows: Tensor, n_seeds: int, generator: torch.Generator, weights: Tensor) -> Tensor:
    """Return rows by greedy k-means++: each is the best of 2 + ⌊ln b⌋ rows drawn by D².

    The same as scikit-learn's. It needs a pass over the rows for each choice, so it is meant for few rows.

    Args:
        rows: Float32 (n, D), centered.
        n_seeds: b.
        generator: On the rows' device.
        weights: Float32 (n,), positive.

    Returns:
        Row numbers, int64 (b,), distinct as long as some rows coincide with no chosen one.
    """
    n_trials = 2 + int(math.log(n_seeds))
    shares = weights / weights.max()
    squares = squared_norms(rows)
    rounding = (16.0 + 2.0 * math.sqrt(rows.shape[1])) * torch.finfo(rows.dtype).eps
    draws = torch.rand(n_seeds, n_trials, generator=generator, device=rows.device, dtype=torch.float64)
    potentials = shares
    seeds = torch.empty(n_seeds, dtype=torch.int64, device=rows.device)
    for number in range(n_seeds):
        sums = potentials.cumsum(dim=0, dtype=torch.float64)
        tried = torch.searchsorted(sums, draws[number] * sums[-1], right=True).clamp_(max=len(rows) - 1)
        both = squares[tried, None] + squares
        squared = torch.addmm(both, rows[tried], rows.T, alpha=-2.0)
        left = squared.where(squared > rounding * both, 0.0).mul_(shares)
        if number:
            left = torch.minimum(left, potentials)
        # Shape (1,): indexing by a number would wait for the device.
        best = left.sum(dim=1).argmin(dim=0, keepdim=True)
        potentials = left[best].squeeze(0)
        seeds[number : number + 1] = tried[best]
    return seeds


def _assign_all(rows: Tensor, unit: float, mean: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Return all rows' nearest centers and their squared distances, from rows that are neither scaled nor centered."""
    labels = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    distances = centers.new_empty(len(rows))
    size = 4 * PRODUCTS.rows(rows.shape[1], rows.device)
    parts = (torch.split(tensor, size) for tensor in (rows, labels, distances))
    for block, nearest, squared in zip(*parts, strict=True):
        centered = _centered(block, unit, mean)
        nearest.copy_(nearest_centers(centered, centers)[1])
        squared.copy_(squared_distances(centered, centers, nearest))
    return labels, distances


def _mean(rows: Tensor, unit: float) -> Tensor:
    """Return the mean of the scaled rows, float32 (D,)."""
    parts = torch.split(rows, PRODUCTS.rows(rows.shape[1], rows.device))
    sums = torch.empty(len(parts), rows.shape[1], device=rows.device)
    for part, own in zip(parts, sums, strict=True):
        torch.sum(part.float() * unit, dim=0, out=own)
    return sums.sum(dim=0) / len(rows)


def _centered(rows: Tensor, unit: float, mean: Tensor) -> Tensor:
    return (rows.float() * unit).sub_(mean)
