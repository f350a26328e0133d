"""Entropy of the predicted class probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import ScoringStrategy
from deepal_strategies.uncertainty import entropy

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class Entropy(ScoringStrategy):
    """Highest entropy -Σ_c p_c log p_c of the predicted class probabilities (Shannon 1948)."""

    requires = frozenset({"probabilities"})

    def score(self, context: QueryContext) -> Tensor:
        """Return the entropy in nats, in [0, log C], float32 (N,)."""
        return entropy(context.candidates.log_probabilities())
