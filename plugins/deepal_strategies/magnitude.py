"""Rows brought to a size whose squares neither overflow nor vanish."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

# Largest entries from 2^-8 to 2^8 need no other unit.
_USUAL = 8


def unit_of(*matrices: Tensor) -> float:
    """Return the power of two to multiply matrices by, 1.0 for entries of usual size; empty ones do not count."""
    largest = 0.0
    for matrix in matrices:
        if matrix.numel():
            low, high = torch.aminmax(matrix)  # a norm would make a copy
            largest = max(largest, float(torch.maximum(-low, high)))
    exponent = math.frexp(largest)[1]
    # float32 holds 2^126; entries so small that it is not enough are of no length anyway.
    return 1.0 if abs(exponent) <= _USUAL else math.ldexp(1.0, -min(max(exponent, -126), 126))


def scaled(matrix: Tensor, unit: float) -> Tensor:
    """Return the matrix in a unit, itself where that is 1."""
    return matrix if unit == 1.0 else matrix * unit
