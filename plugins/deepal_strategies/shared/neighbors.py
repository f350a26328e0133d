"""Distances to nearest neighbors among embeddings of length 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepal_strategies.shared.coverage import unit_rows
from deepal_strategies.shared.row_blocks import COVERAGE

if TYPE_CHECKING:
    from torch import Tensor


def nearest_distances(embeddings: Tensor) -> Tensor:
    """Return each row's distance to the nearest row that it does not coincide with, of rows of length 1, (n,).

    In double precision where the device has it; rows closer than 1e-6 (otherwise 1e-3) coincide. Infinite where all
    rows coincide. Time: O(n²·D), in blocks of bounded size.

    Args:
        embeddings: Shape (n, D), of any magnitude; scaled here.

    Raises:
        QueryError: If an entry is not finite.
    """
    rows = unit_rows(embeddings, precise=True)
    squares = rows.square().sum(dim=1)
    least = 1e-6 if rows.dtype == torch.float64 else 1e-3
    nearest = torch.empty_like(squares)
    for part in COVERAGE.blocks(len(rows), len(rows), rows.device):
        squared = torch.addmm(squares, rows[part], rows.T, alpha=-2.0).add_(squares[part, None])
        nearest[part] = squared.masked_fill_(squared < least * least, torch.inf).amin(dim=1)
    return nearest.sqrt_()


def distances_to_others(embeddings: Tensor, groups: Tensor, which: Tensor) -> Tensor:
    """Return some rows' distances to the nearest row of another group, of rows of length 1, (m,).

    Infinite where there is one group. Time: O(m·n·D), in blocks of bounded size.

    Args:
        embeddings: Shape (n, D), of any magnitude; scaled here.
        groups: Each row's group, (n,).
        which: Row numbers, int64 (m,).

    Raises:
        QueryError: If an entry is not finite.
    """
    rows = unit_rows(embeddings)
    squares = rows.square().sum(dim=1)
    nearest = squares.new_empty(len(which))
    for part in COVERAGE.blocks(len(which), len(rows), rows.device):
        block = which[part]
        squared = torch.addmm(squares, rows[block], rows.T, alpha=-2.0).add_(squares[block, None])
        squared.masked_fill_(groups[block, None] == groups, torch.inf)
        nearest[part] = squared.amin(dim=1).clamp_(min=0.0)
    return nearest.sqrt_()
