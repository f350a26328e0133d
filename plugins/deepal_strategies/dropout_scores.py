"""Entropy, margin and least confidence of the mean of dropout passes (DeepAL+'s EntropyD, MarginD and LeastConfD)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import ScoringStrategy
from deepal_strategies.shared.option_checks import check_at_least
from deepal_strategies.shared.uncertainty import (
    entropy_of_probabilities,
    mean_of_passes,
    negative_margin_of_probabilities,
    score_passes,
)

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class _MeanOfPasses(ScoringStrategy):
    requires = frozenset({"mc_dropout"})

    def __init__(self, n_passes: int = 10) -> None:
        check_at_least("n_passes", n_passes, 1)
        self.n_passes = n_passes

    def score(self, context: QueryContext) -> Tensor:
        """Return the score of the mean probabilities, float32 (N,)."""
        return score_passes(lambda passes: self._score(mean_of_passes(passes)), context.candidates, self.n_passes)

    def _score(self, probabilities: Tensor) -> Tensor:
        raise NotImplementedError


class EntropyDropout(_MeanOfPasses):
    """Highest entropy of the mean of T dropout passes, in nats, in [0, log C].

    The predictive entropy H(mean_t p_t) of Gal, Islam & Ghahramani 2017 ("max entropy"); the survey of Zhan et al. 2022
    (DeepAL+) calls it EntropyD and uses 10 passes.

    Args:
        n_passes: Dropout passes T.

    Raises:
        InputError: If an option is out of range.
    """

    def _score(self, probabilities: Tensor) -> Tensor:
        return entropy_of_probabilities(probabilities)


class MarginDropout(_MeanOfPasses):
    """Smallest gap between the two most probable classes in the mean of T dropout passes; the score is in [-1, 0].

    The margin of Roth & Small 2006 on mean_t p_t; MarginD, with 10 passes, in the survey of Zhan et al. 2022 (DeepAL+).

    Args:
        n_passes: Dropout passes T.

    Raises:
        InputError: If an option is out of range.
    """

    def _score(self, probabilities: Tensor) -> Tensor:
        return negative_margin_of_probabilities(probabilities)


class LeastConfidenceDropout(_MeanOfPasses):
    """Lowest probability of the most probable class in the mean of T dropout passes; the score is in [-1, -1/C].

    The score of Wang & Shang 2014 on mean_t p_t; LeastConfD, with 10 passes, in the survey of Zhan et al. 2022
    (DeepAL+).

    Args:
        n_passes: Dropout passes T.

    Raises:
        InputError: If an option is out of range.
    """

    def _score(self, probabilities: Tensor) -> Tensor:
        return -probabilities.amax(dim=1)
