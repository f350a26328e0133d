"""Squared lengths of rows, and a unit in which they neither overflow nor vanish."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from deepal_autoal import QueryError
from deepal_strategies.shared.row_blocks import SQUARES, by_rows

if TYPE_CHECKING:
    from torch import Tensor

# If the largest entry is within 2^-8 ... 2^8, the unit stays 1.
_USUAL = 8


def unit_of(*matrices: Tensor) -> float:
    """Return the power of two to multiply matrices by, 1.0 for entries of usual size; empty matrices are ignored.

    Raises:
        QueryError: If an entry is not finite: all comparisons with it fail, yet the batch would look like any other.
    """
    largest = 0.0
    for matrix in matrices:
        if matrix.numel():
            low, high = torch.aminmax(matrix)  # a norm would copy the matrix
            own = float(torch.maximum(-low, high))
            if not math.isfinite(own):
                raise QueryError(
                    "the task model's embeddings or gradients are not finite; train it at a lower learning rate"
                )
            largest = max(largest, own)
    exponent = math.frexp(largest)[1]
    # float32 holds 2^126; entries too small for that unit have no length anyway.
    return 1.0 if abs(exponent) <= _USUAL else math.ldexp(1.0, -min(max(exponent, -126), 126))


def scaled(matrix: Tensor, unit: float) -> Tensor:
    """Return the matrix in a unit; the matrix itself if the unit is 1."""
    return matrix if unit == 1.0 else matrix * unit


def squared_norms(rows: Tensor) -> Tensor:
    """Return the rows' squared lengths, (n,), with temporaries of bounded size."""
    return by_rows(lambda part: part.square().sum(dim=1), rows, SQUARES)
