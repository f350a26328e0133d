"""Probability of the most probable class in the mean of dropout passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import ScoringStrategy
from deepal_strategies.options import check_at_least
from deepal_strategies.uncertainty import mean_of_passes, score_passes

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class LeastConfidenceDropout(ScoringStrategy):
    """Lowest probability of the most probable class in the mean of T dropout passes.

    The score of Wang & Shang 2014 on mean_t p_t; LeastConfD, with 10 passes, in the survey of Zhan et al. 2022
    (DeepAL+).

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
        """Return -max_c mean_t p_c, in [-1, -1/C], float32 (N,)."""
        return score_passes(lambda passes: -mean_of_passes(passes).amax(dim=1), context.candidates, self.n_passes)
