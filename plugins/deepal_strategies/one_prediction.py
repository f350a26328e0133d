"""What scores of one prediction a sample have in common: they may be of calibrated probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepal_autoal import ScoringStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class OnePrediction(ScoringStrategy):
    """A score of predicted class probabilities.

    Args:
        calibrated: Whether probabilities are those after temperature scaling, which takes three trainings a query
            (see `PoolView.calibrated_log_probabilities`).
    """

    requires = frozenset({"probabilities"})

    def __init__(self, calibrated: bool = False) -> None:
        self.calibrated = calibrated

    def describe_options(self) -> dict[str, Any]:
        """Return the options; without the one that is off, as runs from before it recorded none."""
        return {name: value for name, value in self.options.items() if name != "calibrated" or value}

    def log_probabilities(self, context: QueryContext) -> Tensor:
        """Return log class probabilities of the candidates, float32 (N, C)."""
        view = context.candidates
        return view.calibrated_log_probabilities() if self.calibrated else view.log_probabilities()
