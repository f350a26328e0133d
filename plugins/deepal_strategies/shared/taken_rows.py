"""Which rows of a view others took, for greedy strategies that pick in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class TakenRows:
    """Rows of the candidates that were taken.

    Args:
        context: The round.
        taken: Pool indices taken so far, which grows elsewhere (see `Strategy.picks_in_turn`).
    """

    def __init__(self, context: QueryContext, taken: Sequence[int]) -> None:
        self._indices = context.candidates.indices
        self._order = np.argsort(self._indices)
        self._device = context.device
        self._taken = taken
        self._n_known = 0
        self._own: set[int] = set()

    def own(self, row: int) -> int:
        """Return the pool index of a row, which `others` then leaves out."""
        index = int(self._indices[row])
        self._own.add(index)
        return index

    def others(self) -> Tensor:
        """Return the rows that others took since the last call, int64 (m,), on the device."""
        new = [index for index in self._taken[self._n_known :] if index not in self._own]
        self._n_known = len(self._taken)
        known = np.array(new, dtype=np.int64)
        known = known[np.isin(known, self._indices)]
        rows = self._order[np.searchsorted(self._indices, known, sorter=self._order)]
        return torch.as_tensor(rows, dtype=torch.int64, device=self._device)
