"""Expected gradient length of the last layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepal_autoal import ScoringStrategy
from deepal_strategies.shared.row_blocks import SCORES, by_rows
from deepal_strategies.shared.scaling import scaled, squared_norms, unit_of

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class GradNorm(ScoringStrategy):
    """Largest expected length of the gradient that a sample's label would give.

    Settles, Craven & Ray 2008 ("expected gradient length"), for the last layer's weights, where the gradient of the
    cross-entropy of label y is (p - e_y) ⊗ h: the score is ‖h‖ Σ_y p_y ‖p - e_y‖.
    """

    requires = frozenset({"probabilities", "embeddings"})

    def score(self, context: QueryContext) -> Tensor:
        """Return the expected length, at least 0, float32 (N,).

        Raises:
            QueryError: If embeddings are not finite.
        """
        embeddings = context.candidates.embeddings()
        unit = unit_of(embeddings)
        lengths = squared_norms(scaled(embeddings, unit)).sqrt_() / unit
        return lengths * by_rows(expected_residual, context.candidates.probabilities(), SCORES)


def expected_residual(probabilities: Tensor) -> Tensor:
    """Return Σ_y p_y ‖p - e_y‖, (n,) in [0, 1), of probabilities (n, C)."""
    squares = probabilities.square()
    likeliest, label = probabilities.max(dim=1, keepdim=True)
    others = probabilities.scatter(1, label, 0.0)
    # Of the likeliest class, 1 - p as the sum of the others: near certainty the difference has no digits left.
    own = likeliest.squeeze(1) * (others.sum(dim=1).square() + others.square().sum(dim=1)).sqrt()
    total = squares.sum(dim=1, keepdim=True)
    rest = others * ((1.0 - others).square() + (total - squares)).clamp_(min=0.0).sqrt_()
    return own + torch.where(others > 0, rest, 0.0).sum(dim=1)
