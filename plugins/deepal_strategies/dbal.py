"""Diverse mini-batch active learning: small margins first, then weighted k-means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import Strategy
from deepal_strategies.shared.final_stage import FinalStage
from deepal_strategies.shared.option_checks import check_at_least
from deepal_strategies.shared.uncertainty import negative_margin

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deepal_autoal import QueryContext


class DBAL(Strategy):
    """The most informative candidates, reduced to a batch by k-means weighted with their informativeness.

    Zhdanov 2019, "Diverse mini-batch active learning": takes the β·b candidates with the highest informativeness
    1 - (p_(1) - p_(2)), clusters their embeddings into b clusters with the informativeness as weights, and takes the
    sample nearest to the center from each cluster. Our choices: k-means starts once, from weighted k-means++; the
    nearest sample is one of the cluster's own members, so two clusters never choose the same one; where all
    candidates have informativeness 0, all weights are equal.

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
        stage = FinalStage("diverse", self.beta)
        return stage.choose(context, informativeness, batch_size, weights=informativeness)
