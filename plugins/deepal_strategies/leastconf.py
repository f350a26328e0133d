"""Probability of the most probable class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import ScoringStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class LeastConfidence(ScoringStrategy):
    """Lowest probability of the most probable class (Wang & Shang 2014)."""

    requires = frozenset({"probabilities"})

    def score(self, context: QueryContext) -> Tensor:
        """Return -max_c p_c, in [-1, -1/C], float32 (N,)."""
        return -context.candidates.log_probabilities().amax(dim=1).exp()
