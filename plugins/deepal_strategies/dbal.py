"""Diverse mini-batch active learning: small margins first, then weighted k-means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import Strategy
from deepal_strategies.diversity import select_final
from deepal_strategies.options import check_at_least
from deepal_strategies.uncertainty import negative_margin

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deepal_autoal import QueryContext


class DBAL(Strategy):
    """The most informative candidates, thinned to a batch by k-means weighted with their informativeness.

    Zhdanov 2019, "Diverse mini-batch active learning": the β·b candidates of the highest informativeness
    1 - (p_(1) - p_(2)), then b clusters of their embeddings in which each counts as much as it is informative, and
    from each cluster the sample nearest to the centre. Chosen here: k-means starts once, from weighted k-means++;
    the nearest sample is one of the cluster's own members, so that no two clusters want the same one; where all
    candidates have informativeness 0, all count alike.

    Args:
        beta: Width of the filter in batches, β. With 1 the batch is the b smallest margins.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"probabilities", "embeddings"})

    def __init__(self, beta: int = 10) -> None:
        check_at_least("beta", beta, 1)
        self.beta = beta

    def query(self, context: QueryContext, batch_size: int) -> NDArray[np.int64]:
        """Return one of the informative candidates from each of ``batch_size`` clusters."""
        informativeness = 1.0 + negative_margin(context.candidates.log_probabilities())
        return select_final(context, informativeness, batch_size, "diverse", self.beta, weights=informativeness)
