"""Gap between the two most probable classes in the mean of dropout passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import ScoringStrategy
from deepal_strategies.options import check_at_least
from deepal_strategies.uncertainty import mean_of_passes, negative_margin_of_probabilities, score_passes

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class MarginDropout(ScoringStrategy):
    """Smallest gap between the two most probable classes in the mean of T dropout passes.

    The margin of Roth & Small 2006 on mean_t p_t; MarginD, with 10 passes, in the survey of Zhan et al. 2022 (DeepAL+).

    Args:
        n_passes: Dropout passes T.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"mc_dropout"})

    def __init__(self, n_passes: int = 10) -> None:
        check_at_least("n_passes", n_passes, 1)
        self.n_passes = n_passes

    def score(self, context: QueryContext) -> Tensor:
        """Return the negative margin of the mean probabilities, in [-1, 0], float32 (N,)."""
        return score_passes(
            lambda passes: negative_margin_of_probabilities(mean_of_passes(passes)), context.candidates, self.n_passes
        )
