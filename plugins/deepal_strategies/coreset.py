"""Core-set selection: k-center greedy on the embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepal_autoal import Strategy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import QueryContext

# Numbers in a block of distances to the labelled samples.
_BLOCK = 1 << 22
# Squared distances below this many roundings of their terms are those of equal rows.
_ROUNDINGS = 8.0


class CoreSet(Strategy):
    """Again and again the candidate farthest from all labelled and chosen ones (Sener & Savarese, ICLR 2018).

    The greedy 2-approximation of k-center on the task model's embeddings, by Euclidean distance; the paper's
    refinement by a mixed-integer program, which gains little there, is not part of it. With no labelled sample the
    first one is random.
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

    A running minimum of the squared distances: one matrix-vector product a choice, O(n) numbers beyond a
    centred copy of the rows. Equal distances are decided at random.

    Args:
        rows: Shape (n, D), finite.
        centers: Shape (m, D); may be empty.
        n_chosen: How many, 1 ... n.
        generator: On the rows' device.

    Returns:
        Distinct row numbers, int64 (n_chosen,), in the order of the choices.
    """
    n_rows, device = len(rows), rows.device
    tie_breaks = torch.rand(n_rows, generator=generator, device=device)
    # Far from the origin the difference of large squares would lose the distances; a common factor keeps them finite.
    offset = rows.mean(dim=0)
    rows, centers = rows - offset, centers - offset
    unit = torch.stack([torch.linalg.vector_norm(part, torch.inf) for part in (rows, centers) if len(part)]).amax()
    if unit > 0:
        rows, centers = rows.div_(unit), centers.div_(unit)
    norms = rows.square().sum(dim=1)
    distances = torch.full_like(norms, torch.inf)
    size = max(1, _BLOCK // n_rows)
    for start in range(0, len(centers), size):
        part = centers[start : start + size]
        squared = _squared_distances(norms[:, None], part.square().sum(dim=1), rows @ part.T)
        distances = torch.minimum(distances, squared.amin(dim=1))
    chosen = torch.empty(n_chosen, dtype=torch.int64, device=device)
    for number in range(n_chosen):
        row = torch.where(distances == distances.max(), tie_breaks, -1.0).argmax()
        chosen[number] = row
        distances = torch.minimum(distances, _squared_distances(norms, norms[row], rows @ rows[row]))
        # Never again, though others may coincide with it.
        distances[row] = -1.0
    return chosen


def _squared_distances(first: Tensor, second: Tensor, inner: Tensor) -> Tensor:
    """Return ‖x‖² + ‖y‖² - 2 x·y of squared norms and inner products; 0 where that is rounding errors alone."""
    both = first + second
    squared = both - 2.0 * inner
    return squared.where(squared > _ROUNDINGS * torch.finfo(squared.dtype).eps * both, 0.0)
