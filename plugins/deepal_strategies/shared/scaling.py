"""Squared lengths of rows, and a unit in which they neither overflow nor vanish."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from deepal_autoal import QueryError

if TYPE_CHECKING:
    from torch import Tensor

# If the largest entry is within 2^-8 ... 2^8, the unit stays 1.
_USUAL = 8
# Numbers in a block: on a CPU it should fit the cache, on a GPU fill the device.
_BLOCK_CPU, _BLOCK_GPU = 1 << 18, 1 << 26


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
    # Preallocated: many small long-lived tensors between large temporaries fragment the heap.
    squares = rows.new_empty(len(rows))
    size = max(1, (_BLOCK_CPU if rows.device.type == "cpu" else _BLOCK_GPU) // rows.shape[1])
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        torch.sum(rows[part].square(), dim=1, out=squares[part])
    return squares
