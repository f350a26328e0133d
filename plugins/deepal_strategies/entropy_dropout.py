"""Entropy of the mean of dropout passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import ScoringStrategy
from deepal_strategies.options import check_at_least
from deepal_strategies.uncertainty import entropy_of_probabilities, mean_of_passes, score_passes

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class EntropyDropout(ScoringStrategy):
    """Highest entropy of the mean of T dropout passes.

    The predictive entropy H(mean_t p_t) of Gal, Islam & Ghahramani 2017 ("max entropy"); the survey of Zhan et al. 2022
    (DeepAL+) calls it EntropyD and takes 10 passes.

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
        """Return the entropy of the mean probabilities in nats, in [0, log C], float32 (N,)."""
        return score_passes(
            lambda passes: entropy_of_probabilities(mean_of_passes(passes)), context.candidates, self.n_passes
        )
