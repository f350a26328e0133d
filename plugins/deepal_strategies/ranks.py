"""Ranks in [0, 1] that treat equal values alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def mid_ranks(values: Tensor) -> Tensor:
    """Return each value's rank: 0 = the lowest, 1 = the highest; equal values share the mean of their ranks.

    Args:
        values: Shape (n,), no NaN.

    Returns:
        float32 (n,) with mean 1/2; 1/2 for a single value.
    """
    if len(values) == 1:
        return torch.full_like(values, 0.5, dtype=torch.float32)
    _, inverse, counts = torch.unique(values, sorted=True, return_inverse=True, return_counts=True)
    # Twice the ranks are integers: one rounding only, in the division.
    twice = 2 * (counts.cumsum(0) - counts) + counts - 1
    ranks: Tensor = twice[inverse] / (2 * (len(values) - 1))
    return ranks.float()
