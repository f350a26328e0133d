"""Ranks in [0, 1] in which equal values share a rank."""

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
    # Counted in a sorted copy: the number of distinct values is unknown, and reading it would wait for the device.
    own = values.contiguous()
    ordered = own.sort().values
    below, not_above = torch.searchsorted(ordered, own), torch.searchsorted(ordered, own, right=True)
    # Twice the ranks are integers, so only the division rounds.
    ranks: Tensor = (below + not_above - 1) / (2 * (len(values) - 1))
    return ranks.float()
