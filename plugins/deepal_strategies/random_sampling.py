"""Uniformly random queries, the control of every study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepal_autoal import ScoringStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class RandomSampling(ScoringStrategy):
    """Uniformly random samples, without replacement."""

    def score(self, context: QueryContext) -> Tensor:
        """Return a random permutation of 0 ... N-1, so no two scores are equal; float32 (N,)."""
        order = torch.randperm(len(context.candidates), generator=context.generator, device=context.generator.device)
        return order.float()

    def choice_probabilities(self, context: QueryContext, batch_size: int) -> Tensor:
        """Return b/N for each candidate, float32 (N,)."""
        n_candidates = len(context.candidates)
        return torch.full((n_candidates,), batch_size / n_candidates, device=context.device)
