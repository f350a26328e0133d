"""Gap between the two most probable classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import ScoringStrategy
from deepal_strategies.uncertainty import negative_margin

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class Margin(ScoringStrategy):
    """Smallest gap p_(1) - p_(2) between the two most probable classes (Roth & Small 2006)."""

    requires = frozenset({"probabilities"})

    def score(self, context: QueryContext) -> Tensor:
        """Return the negative margin, in [-1, 0], float32 (N,)."""
        return negative_margin(context.candidates.log_probabilities())
