"""Choosing the highest scores, with ties broken at random but reproducibly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def top_scores(scores: Tensor, batch_size: int, generator: torch.Generator) -> Tensor:
    """Return the positions of the highest scores, highest first.

    Args:
        scores: Shape (n,), higher is better, no NaN.
        batch_size: How many; at most n.
        generator: Orders equal scores, on its own device; never the position does.

    Returns:
        int64 tensor of shape (batch_size,) on the scores' device.
    """
    shuffled = torch.randperm(len(scores), generator=generator, device=generator.device).to(scores.device)
    order = torch.argsort(scores[shuffled], descending=True, stable=True)
    return shuffled[order[:batch_size]]
