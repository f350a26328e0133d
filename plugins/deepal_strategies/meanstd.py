"""Standard deviation over dropout passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepal_autoal import ScoringStrategy
from deepal_strategies.shared.option_checks import check_at_least
from deepal_strategies.shared.uncertainty import mean_of_passes, score_passes

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class MeanStd(ScoringStrategy):
    """Largest standard deviation of a class probability over T dropout passes, averaged over classes.

    From Kampffmeyer, Salberg & Jenssen 2016, who use it per pixel. It is the population's standard deviation,
    √(mean_t p² - (mean_t p)²) with 1/T, as in Gal, Islam & Ghahramani 2017 and in numpy, which DeepAL+ uses; with
    1/(T-1) the ranking would be the same.

    Args:
        n_passes: Dropout passes T, at least 2: a single one has no spread.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"mc_dropout"})

    def __init__(self, n_passes: int = 10) -> None:
        check_at_least("n_passes", n_passes, 2)
        self.n_passes = n_passes

    def score(self, context: QueryContext) -> Tensor:
        """Return the mean standard deviation, in [0, 1/2], float32 (N,); exactly 0 where all passes are equal."""
        return score_passes(mean_standard_deviation, context.candidates, self.n_passes)


def mean_standard_deviation(passes: Tensor) -> Tensor:
    """Return the population's standard deviation, averaged over classes, (n,), of passes (T, n, C)."""
    mean = mean_of_passes(passes)
    # Squares of differences: the difference of squares would cancel where the spread is small.
    squares = torch.zeros_like(mean)
    for one in passes:
        squares += (one - mean).square_()
    return squares.div_(len(passes)).sqrt_().mean(dim=1)
