"""Core-set selection: k-center greedy on the embeddings."""

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

# Numbers in a block of differences or products: on a CPU it should fit the cache.
_BLOCK = 1 << 20


class CoreSet(Strategy):
    """Again and again the candidate farthest from all labelled and chosen ones (Sener & Savarese, ICLR 2018).

    The paper's greedy 2-approximation of k-center on the task model's embeddings, by Euclidean distance. Its
    refinement of that by a mixed-integer program is not part of this strategy. With no labelled sample the first
    one is random.
    """

    requires = frozenset({"embeddings"})

    def query(self, context: QueryContext, batch_size: int) -> NDArray[np.int64]:
        """Return the batch, in the order in which it was chosen."""
        positions = farthest_first(
            context.candidates.embeddings(), context.labeled.embeddings(), batch_size, context.generator
        )
        queried: NDArray[np.int64] = context.candidates.indices[positions.cpu().numpy()]
        return queried


def farthest_first(rows: Tensor, centers: Tensor, n_chosen: int, generator: torch.Generator) -> Tensor:
    """Return rows by farthest-first traversal, starting from given centres.

    A running minimum of the distances, O(n·D) a choice. They are computed from differences: by way of squared norms
    and inner products, single precision would lose those inside of tight clusters. Time and memory to begin with,
    O(n·m·D) and blocks of bounded size: products in double precision find each row's nearest centre. Equal
    distances are decided at random.

    Args:
        rows: Shape (n, D), finite.
        centers: Shape (m, D); may be empty.
        n_chosen: How many, 1 ... n.
        generator: On the rows' device.

    Returns:
        Distinct row numbers, int64 (n_chosen,), in the order of the choices.
    """
    priority = torch.randperm(len(rows), generator=generator, device=rows.device)
    scale = _scale(rows, centers)
    distances = _nearest_distances(rows, centers, scale)
    chosen = []
    for _ in range(n_chosen):
        # Shape (1,): to index by a number, Python would wait for the device.
        row = torch.where(distances == distances.max(), priority, -1).argmax(dim=0, keepdim=True)
        chosen.append(row)
        distances = torch.minimum(distances, _distances(rows, rows[row], scale))
        # Never again, though others may coincide with it.
        distances.index_fill_(0, row, -1.0)
    return torch.cat(chosen)


def _scale(rows: Tensor, centers: Tensor) -> float:
    """Return a power of two by which to multiply, so that squares neither overflow nor vanish."""
    largest = max(float(torch.linalg.vector_norm(part, torch.inf)) for part in (rows, centers) if len(part))
    return math.ldexp(1.0, -min(max(math.frexp(largest)[1], -100), 100))


def _nearest_distances(rows: Tensor, centers: Tensor, scale: float) -> Tensor:
    """Return each row's scaled distance to the nearest centre, (n,); infinite where there are no centres."""
    if not len(centers):
        return torch.full_like(rows[:, 0], torch.inf)
    size = max(1, min(math.isqrt(_BLOCK), _BLOCK // rows.shape[1]))
    parts = []
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        precise = _double(part)
        best = torch.full_like(precise[:, 0], torch.inf)
        nearest = torch.zeros_like(best, dtype=torch.int64)
        for start in range(0, len(centers), size):
            others = _double(centers[start : start + size])
            # The row's own square is the same for all centres.
            squared, position = (others.square().sum(dim=1) - 2.0 * precise @ others.T).min(dim=1)
            nearest = torch.where(squared < best, start + position, nearest)
            best = torch.minimum(best, squared)
        parts.append(_distances(part, centers[nearest.to(rows.device)], scale))
    return torch.cat(parts)


def _double(tensor: Tensor) -> Tensor:
    """Return float64, on the CPU where the device has none."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def _distances(rows: Tensor, others: Tensor, scale: float) -> Tensor:
    """Return the scaled Euclidean distances of rows to others, (n,); ``others`` has as many rows, or one for all."""
    size = max(1, _BLOCK // rows.shape[1])
    others = (others * scale).expand_as(rows)
    parts = [slice(start, start + size) for start in range(0, len(rows), size)]
    return torch.cat([torch.linalg.vector_norm((rows[part] * scale).sub_(others[part]), dim=1) for part in parts])
