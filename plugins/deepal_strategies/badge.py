"""BADGE: diverse batches of uncertain samples, by k-means++ seeding on last-layer gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from deepal_autoal import Strategy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import QueryContext

_CHUNK_ROWS = 4096


class BADGE(Strategy):
    """k-means++ seeding on gradient embeddings (Ash, Zhang, Krishnamurthy, Langford & Agarwal, ICLR 2020).

    A sample's gradient embedding g = q ⊗ h is the gradient of the cross-entropy of its predicted label with respect
    to the last layer's weights: q = p - onehot(argmax p), h the embedding. The first sample is that of the largest
    ‖g‖, as in the authors' code (the paper's k-means++ draws it uniformly); each further one is drawn in proportion
    to its squared distance to the nearest one chosen. Where all samples coincide with chosen ones, the rest is
    random.

    g, of C·D numbers a sample, is never built: (q_i ⊗ h_i)·(q_j ⊗ h_j) = (q_i·q_j)(h_i·h_j).
    """

    requires = frozenset({"gradients"})

    def query(self, context: QueryContext, batch_size: int) -> NDArray[np.int64]:
        """Return the batch, in the order in which it was drawn."""
        positions = seed_by_distance(*context.candidates.gradient_factors(), batch_size, context.generator)
        queried: NDArray[np.int64] = context.candidates.indices[positions.cpu().numpy()]
        return queried


def seed_by_distance(left: Tensor, right: Tensor, n_seeds: int, generator: torch.Generator) -> Tensor:
    """Return rows of a factored matrix by k-means++ seeding: the longest row, then in proportion to D².

    Row i is the outer product of ``left[i]`` and ``right[i]``; for plain rows, ``left`` is a column of ones. D² is
    the squared Euclidean distance to the nearest chosen row, with a running minimum: two matrix-vector products a
    draw, O(n) numbers beyond the factors. Chosen rows have D² = 0 and are not drawn as long as others are left, and
    so have rows that single precision cannot tell from one: D² below (16 + 2 √(C + D)) ε (‖g_i‖² + ‖g_j‖²), ε the
    factors' machine epsilon.

    One number a draw, u in [0, 1), is taken from the generator at the start; the row drawn is the first whose
    cumulative sum of D² exceeds u times the total. A random order decides between rows that tie for the longest,
    and where all D² are 0.

    Args:
        left: Shape (n, C), finite.
        right: Shape (n, D), finite.
        n_seeds: How many, 1 ... n.
        generator: On the rows' device.

    Returns:
        Distinct row numbers, int64 (n_seeds,), in the order of the draws.
    """
    n_rows, device = len(left), left.device
    # mps has no double precision.
    exact = torch.float32 if device.type == "mps" else torch.float64
    draws = torch.rand(n_seeds, generator=generator, device=device, dtype=exact)
    priority = torch.randperm(n_rows, generator=generator, device=device)
    # Squares of squares of large features overflow; common factors change no proportion.
    left_unit, right_unit = _largest(left), _largest(right)
    norms = _squared_norms(left, left_unit) * _squared_norms(right, right_unit)
    # Long sums round: on a CPU, equal rows gave D² of up to 29 ε of their squares at C = 1000, D = 1; 87 ε at D = 8192.
    rounding = (16.0 + 2.0 * math.sqrt(left.shape[1] + right.shape[1])) * torch.finfo(norms.dtype).eps
    distances = torch.full_like(norms, torch.inf)
    is_free = torch.ones(n_rows, dtype=torch.bool, device=device)
    # Rows are tensors of shape (1,): to index by a number, Python would wait for the device.
    row = torch.where(norms == norms.max(), priority, -1).argmax(dim=0, keepdim=True)
    # Written in place: small tensors that stay, made between large ones that go, tear the heap to pieces.
    chosen = row.new_empty(n_seeds)
    chosen[:1] = row
    for number in range(1, n_seeds):
        is_free.index_fill_(0, row, False)
        both = norms + norms[row]
        inner = _products(left, row, left_unit) * _products(right, row, right_unit)
        squared = both - 2.0 * inner
        distances = torch.minimum(distances, squared.where(squared > rounding * both, 0.0)).where(is_free, 0.0)
        sums = distances.cumsum(dim=0, dtype=exact)
        drawn = torch.searchsorted(sums, draws[number] * sums[-1:], right=True).clamp(max=n_rows - 1)
        # Equal rows only: any free one. No branch, which would wait for the device too.
        any_free = priority.where(is_free, -1).argmax(dim=0, keepdim=True)
        row = torch.where(distances[drawn] > 0, drawn, any_free)
        chosen[number : number + 1] = row
    return chosen


def _largest(rows: Tensor) -> Tensor:
    """Return the largest absolute entry, 1 where all are 0."""
    low, high = torch.aminmax(rows)  # a norm would make a copy
    largest = torch.maximum(-low, high)
    return torch.where(largest > 0, largest, torch.ones_like(largest))


def _squared_norms(rows: Tensor, unit: Tensor) -> Tensor:
    """Return the rows' squared lengths in a unit, (n,)."""
    starts = range(0, len(rows), _CHUNK_ROWS)
    return torch.cat([(rows[start : start + _CHUNK_ROWS] / unit).square().sum(dim=1) for start in starts])


def _products(rows: Tensor, row: Tensor, unit: Tensor) -> Tensor:
    """Return the inner products of all rows with one of them, given as (1,), in a unit, (n,)."""
    return (rows @ (rows[row].squeeze(0) / unit)) / unit
