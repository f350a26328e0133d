"""The largest value, with ties broken at random instead of by position."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def largest(values: Tensor, priority: Tensor) -> Tensor:
    """Return the position of the largest value, int64 (1,); of several, the one with the highest priority.

    It does not wait for the device.

    Args:
        values: (n,), no NaN.
        priority: Distinct integers of at least 0, (n,), such as a random permutation.
    """
    return torch.where(values == values.max(), priority, -1).argmax(dim=0, keepdim=True)
