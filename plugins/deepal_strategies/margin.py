"""Gap between the two most probable classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_strategies.shared.one_prediction import OnePrediction
from deepal_strategies.shared.uncertainty import negative_margin

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class Margin(OnePrediction):
    """Smallest gap p_(1) - p_(2) between the two most probable classes (Roth & Small 2006)."""

    def score(self, context: QueryContext) -> Tensor:
        """Return the negative margin, in [-1, 0], float32 (N,)."""
        return negative_margin(self.log_probabilities(context))
