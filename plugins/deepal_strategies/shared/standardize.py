"""Standardization of features by fixed statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class Standardize(nn.Module):
    """Shifts and scales features by fixed statistics, so one learning rate works for all models.

    Statistics are those of the data, not of a batch: a sample's outputs do not depend on other samples.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, *parts: Tensor) -> None:
        super().__init__()
        moments = [torch.var_mean(part, dim=0, correction=0) for part in parts]
        shares = [len(part) / sum(map(len, parts)) for part in parts]
        mean = torch.stack([share * own for share, (_, own) in zip(shares, moments, strict=True)]).sum(dim=0)
        within = [share * (own + (at - mean).square()) for share, (own, at) in zip(shares, moments, strict=True)]
        deviation = torch.stack(within).sum(dim=0).sqrt()
        # A dead unit holds no information; dividing by its deviation would amplify rounding errors.
        deviation[deviation < 1e-6 * deviation.max().clamp_min(1e-6)] = 1.0
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, features: Tensor) -> Tensor:
        """Return (features - mean)/deviation, (n, D)."""
        return (features - self.mean) / self.deviation
