"""Variation ratio over dropout passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from deepal_autoal import ScoringStrategy
from deepal_strategies.shared.option_checks import check_at_least, check_choice
from deepal_strategies.shared.uncertainty import mean_of_passes, score_passes, variation_ratio

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class VariationRatio(ScoringStrategy):
    """Largest share of dropout passes that do not vote for the modal class (Freeman 1965).

    1 - (votes for the modal class) / T over the most probable class of each pass, as in Gal, Islam & Ghahramani
    2017. With T passes there are at most T different scores; ties are broken at random. A pass in which several
    classes are equally probable votes for the first of them (see `variation_ratio`).

    Args:
        n_passes: Dropout passes T, at least 2: a single one cannot disagree.
        form: ``"votes"`` counts the passes' votes. ``"confidence"`` is what DeepAL+ (Zhan et al. 2022, equation 5)
            calls variation ratio: 1 - max_c p_c, here of the mean of the passes. It counts no votes and ranks as
            ``leastconf-dropout`` does; use it to compare with their results.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"mc_dropout"})

    def __init__(self, n_passes: int = 10, form: Literal["votes", "confidence"] = "votes") -> None:
        check_at_least("n_passes", n_passes, 2)
        check_choice("form", form, ("votes", "confidence"))
        self.n_passes = n_passes
        self.form = form

    def score(self, context: QueryContext) -> Tensor:
        """Return the share of votes against the modal class, or 1 - max_c p_c, in [0, 1), float32 (N,)."""
        score = variation_ratio if self.form == "votes" else _lack_of_confidence
        return score_passes(score, context.candidates, self.n_passes)


def _lack_of_confidence(passes: Tensor) -> Tensor:
    return 1.0 - mean_of_passes(passes).amax(dim=1)
