"""Rows chosen one by one, each time the first in line, without bringing the whole line up to date."""

from __future__ import annotations

import math
from typing import Protocol, TypeVar

import torch
from torch import Tensor

# Rows that are looked at to build a front, to begin with and at the least. More make fewer fronts, and more work for
# each choice.
_SMALLEST = 256
# A front that gave fewer choices than the first makes the next one twice as large, one that gave the second half as.
_FEW, _MANY = 32, 128
# Choices after which a front is made anew even if it would last.
_LONGEST = 256
# Rows told in one piece.
_PIECE = 4096

L = TypeVar("L", bound="Line")


class Line(Protocol):
    """Rows in line, each with a key: the smallest is next, and keys only rise as rows are chosen.

    A row's key holds for the choices that it was told of; until it is told of the others, it is a lower bound.
    """

    def __len__(self) -> int:
        """Return the number of rows."""

    def take(self: L, rows: Tensor) -> L:
        """Return copies of some rows, int64 (m,), as a line of their own with the same record of choices."""

    def put(self: L, rows: Tensor, part: L) -> None:
        """Take over what such copies were told."""

    def tell(self, first: int, last: int) -> None:
        """Tell all rows, which know of the choices before ``first``, of those from it to ``last`` - 1."""

    def keys(self) -> Tensor:
        """Return the rows' keys, (n,): chosen rows' are the largest, and the order of equal ones is anyone's."""

    def record(self, number: int, row: Tensor, key: Tensor) -> None:
        """Write down that the row at position ``row``, (1,), of key ``key``, (1,), is choice ``number``."""


def choose_eagerly(line: Line, n_told: int, n_choices: int) -> Tensor:
    """Tell every row of every choice; nothing is read back from the device.

    Args:
        line: All rows, told of all choices so far.
        n_told: How many those are.
        n_choices: Number of choices at the end.

    Returns:
        The rows chosen here, in order, int64 (n_choices - n_told,). All rows have been told of all of them.
    """
    # Written in place: small tensors that stay, made between large ones that go, tear the heap to pieces.
    chosen = torch.empty(n_choices - n_told, dtype=torch.int64, device=line.keys().device)
    for number in range(n_told, n_choices):
        key, row = line.keys().min(dim=0, keepdim=True)
        line.record(number, row, key)
        chosen[number - n_told : number - n_told + 1] = row
        line.tell(number, number + 1)
    return chosen


def choose_lazily(line: Line, n_told: int, n_choices: int, smallest: int = _SMALLEST) -> Tensor:
    """Make the same choices, but tell rows of others only when it may be their turn.

    Only the rows of a small front are told of every choice. All others have keys above the front's limit, and keys
    can only rise. When no key of the front is below its limit, a new front is made: the rows of the smallest keys
    are told what they missed, more and more of them until the smallest key of all is that of a row that knows all.
    No row is told of a choice twice, so the work is at most `choose_eagerly`'s; where no front lasts, all rows come
    to be in it.

    Arguments and result are those of `choose_eagerly`, and ``smallest``, the rows that a front is sought among at the
    least; here rows may end without having been told of all choices.
    """
    n_rows = len(line)
    keys = line.keys().clone()
    told = torch.full((n_rows,), n_told, dtype=torch.int32)
    chosen = torch.empty(n_choices - n_told, dtype=torch.int64)
    number, reach, size = n_told, smallest, smallest
    while number < n_choices:
        rows, limit = _front(line, keys, told, number, reach, size)
        is_part = len(rows) < n_rows
        front = line.take(rows) if is_part else line
        start = number
        while number < min(start + _LONGEST, n_choices):
            key, position = front.keys().min(dim=0, keepdim=True)
            if key.item() >= limit:
                break
            front.record(number, position, key)
            chosen[number - n_told] = rows[position]
            front.tell(number, number + 1)
            number += 1
        if is_part:
            line.put(rows, front)
        keys[rows] = front.keys()
        told[rows] = number
        if number - start < _FEW:
            # Either the front had too little room, or too few rows knew enough to be in it.
            if len(rows) >= size:
                size = min(2 * size, n_rows)
            reach = min(2 * reach, n_rows)
        elif number - start >= _MANY:
            size, reach = max(size // 2, smallest), max(reach // 2, smallest)
    return chosen


def _front(line: Line, keys: Tensor, told: Tensor, number: int, reach: int, size: int) -> tuple[Tensor, float]:
    """Return rows that were told of all choices, and a limit that their keys are below and all other rows' not.

    Args:
        line: All rows.
        keys: What is known of their keys, (n,); brought up to date.
        told: Number of choices that each was told of, int32 (n,); brought up to date.
        number: Number of choices so far.
        reach: How many rows to tell at first.
        size: How many rows to return at most; all, if it is more than half of them.
    """
    everything = torch.arange(len(line))
    if 2 * size > len(line):
        _update(line, keys, told, everything, number)
        return everything, math.inf
    while True:
        rows = keys.topk(reach, largest=False, sorted=False).indices if 2 * reach < len(line) else everything
        _update(line, keys, told, rows, number)
        first, rows = keys.topk(size + 1, largest=False)
        # Up to the first one that does not know all.
        n_ready = int((told[rows[:size]] == number).cumprod(dim=0).sum())
        if n_ready:
            return rows[:n_ready], first[n_ready].item()
        reach *= 4


def _update(line: Line, keys: Tensor, told: Tensor, rows: Tensor, number: int) -> None:
    """Tell rows what they missed of all choices up to ``number``."""
    rows = rows[told[rows] < number]
    for known in torch.unique(told[rows]).tolist():
        group = rows[told[rows] == known]
        if len(group) == len(line):
            line.tell(known, number)
            keys.copy_(line.keys())
        else:
            for piece in torch.split(group, _PIECE):
                part = line.take(piece)
                part.tell(known, number)
                line.put(piece, part)
                keys[piece] = part.keys()
    told[rows] = number
