"""Base class of scores that need one prediction per sample, optionally calibrated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepal_autoal import ScoringStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class OnePrediction(ScoringStrategy):
    """A score of predicted class probabilities.

    Args:
        calibrated: Whether to use probabilities after temperature scaling, which takes three trainings per query
            (see `PoolView.calibrated_log_probabilities`).
    """

    requires = frozenset({"probabilities"})

    def __init__(self, calibrated: bool = False) -> None:
        self.calibrated = calibrated

    def describe_options(self) -> dict[str, Any]:
        """Return the options, without ``calibrated`` if it is off, as runs older than the option recorded none."""
        return {name: value for name, value in self.options.items() if name != "calibrated" or value}

    def log_probabilities(self, context: QueryContext) -> Tensor:
        """Return log class probabilities of the candidates, float32 (N, C)."""
        view = context.candidates
        return view.calibrated_log_probabilities() if self.calibrated else view.log_probabilities()
