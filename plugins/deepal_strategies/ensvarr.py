"""Variation ratio over an ensemble of networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import ScoringStrategy
from deepal_strategies.shared.option_checks import check_at_least
from deepal_strategies.shared.uncertainty import variation_ratio

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class EnsembleVariationRatio(ScoringStrategy):
    """Largest share of an ensemble's members that do not vote for the modal class.

    Beluch et al. 2018: networks of one architecture, each trained on all labels from different initial weights and in
    a different order of the data. The first is the task model, so a query trains M - 1 more. With M members there are
    at most M different scores; ties are broken at random.

    Args:
        n_members: Members M including the task model, at least 2: a single one cannot disagree.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"ensemble"})

    def __init__(self, n_members: int = 5) -> None:
        check_at_least("n_members", n_members, 2)
        self.n_members = n_members

    def score(self, context: QueryContext) -> Tensor:
        """Return the share of members against the modal class, a multiple of 1/M in [0, 1), float32 (N,)."""
        return variation_ratio(context.candidates.ensemble_probabilities(self.n_members))
