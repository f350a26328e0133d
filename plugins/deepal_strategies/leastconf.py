"""Probability of the most probable class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_strategies.shared.one_prediction import OnePrediction
from deepal_strategies.shared.uncertainty import least_confidence

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class LeastConfidence(OnePrediction):
    """Lowest probability of the most probable class (Wang & Shang 2014)."""

    def score(self, context: QueryContext) -> Tensor:
        """Return -max_c p_c, in [-1, -1/C], float32 (N,)."""
        return least_confidence(self.log_probabilities(context))
