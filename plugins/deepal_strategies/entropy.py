"""Entropy of the predicted class probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_strategies.shared.one_prediction import OnePrediction
from deepal_strategies.shared.uncertainty import entropy

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class Entropy(OnePrediction):
    """Highest entropy -Σ_c p_c log p_c of the predicted class probabilities (Shannon 1948)."""

    def score(self, context: QueryContext) -> Tensor:
        """Return the entropy in nats, in [0, log C], float32 (N,)."""
        return entropy(self.log_probabilities(context))
