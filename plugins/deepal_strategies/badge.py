"""BADGE: diverse batches of uncertain samples, by k-means++ seeding on last-layer gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from deepal_autoal import Strategy
from deepal_strategies.shared.seeding import seed_by_distance, seed_in_turn
from deepal_strategies.shared.taken_rows import TakenRows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deepal_autoal import QueryContext


class BADGE(Strategy):
    """k-means++ seeding on gradient embeddings (Ash, Zhang, Krishnamurthy, Langford & Agarwal, ICLR 2020).

    A sample's gradient embedding g = q ⊗ h is the gradient of the cross-entropy of its predicted label with respect
    to the last layer's weights: q = p - onehot(argmax p), h the embedding. The first sample is the one with the
    largest ‖g‖, as in the authors' code (the paper's k-means++ draws it uniformly); each further one is drawn in
    proportion to its squared distance to the nearest chosen one. Where all samples coincide with chosen ones, the
    rest are random.

    g, with C·D numbers per sample, is never formed: (q_i ⊗ h_i)·(q_j ⊗ h_j) = (q_i·q_j)(h_i·h_j).
    """

    requires = frozenset({"gradients"})

    def query(self, context: QueryContext, batch_size: int) -> NDArray[np.int64]:
        """Return the batch, in the order in which it was drawn."""
        positions = seed_by_distance(*context.candidates.gradient_factors(), batch_size, context.generator)
        queried: NDArray[np.int64] = context.candidates.indices[positions.cpu().numpy()]
        return queried

    def picks_in_turn(self, context: QueryContext, batch_size: int, taken: Sequence[int]) -> Iterator[int]:
        """Yield candidates drawn in proportion to their squared distance to the nearest taken one, one at a time.

        The first is the one with the largest ‖g‖ if nothing is taken yet.
        """
        known = TakenRows(context, taken)
        first = "drawn" if taken else "longest"
        factors = context.candidates.gradient_factors()
        for row in seed_in_turn(*factors, batch_size, context.generator, known.others, first):
            yield known.own(row)
