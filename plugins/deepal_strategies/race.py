"""Rows chosen one by one, each time the first in line, without bringing the whole line up to date."""

from __future__ import annotations

from typing import Protocol, TypeVar

import torch
from torch import Tensor

# Rows that are looked at to build a front, to begin with and at the least.
_SMALLEST = 256
# A front that gave fewer choices than the first makes the next one twice as large, one that gave the second half as.
_FEW, _MANY = 32, 128
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
        """Return the rows' keys, (n,); no two are equal, but for chosen rows', which are the largest."""

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


def choose_lazily(line: Line, n_told: int, n_choices: int) -> Tensor:
    """Make the same choices, but tell rows of others only when it may be their turn.

    Only the rows of a small front are told of every choice. All others have keys above the front's limit, which can
    only rise. When no key of the front is below it, the front is built anew: the rows of the smallest keys are told
    what they missed, more and more of them until one stays below the keys of all others. No row is told of a choice
    twice, so the work is at most `choose_eagerly`'s; where no front lasts, all rows come to be in it.

    Arguments and result are those of `choose_eagerly`; here rows may end without having been told of all choices.
    """
    keys = line.keys().clone()
    told = torch.full((len(line),), n_told, dtype=torch.int32)
    chosen = torch.empty(n_choices - n_told, dtype=torch.int64)
    number, size = n_told, _SMALLEST
    while number < n_choices:
        rows = _front(line, keys, told, number, size)
        front = line if rows is None else line.take(rows[0])
        started = number
        while number < n_choices and number - started < 2 * _MANY:
            key, position = front.keys().min(dim=0, keepdim=True)
            if rows is not None and key.item() >= rows[1]:
                break
            front.record(number, position, key)
            chosen[number - n_told] = position if rows is None else rows[0][position]
            number += 1
            if number < n_choices:
                front.tell(number - 1, number)
        if rows is None:
            keys.copy_(line.keys())
            told.fill_(number)
        else:
            line.put(rows[0], front)
            keys[rows[0]] = front.keys()
            told[rows[0]] = number
        if number - started < _FEW:
            size = min(2 * size, len(line))
        elif number - started >= _MANY:
            size = max(size // 2, _SMALLEST)
    return chosen


def _front(line: Line, keys: Tensor, told: Tensor, number: int, size: int) -> tuple[Tensor, float] | None:
    """Return at most ``size`` rows told of all choices, and a limit that their keys are below and all others' not.

    None stands for all rows.
    """
    n_rows = looked_at = len(line)
    if 2 * size < n_rows:
        looked_at = size
    while looked_at < n_rows:
        smallest, rows = keys.topk(looked_at + 1, largest=False)
        limit, rows = smallest[-1], rows[:-1]
        _update(line, keys, told, rows[told[rows] < number], number)
        rows = rows[keys[rows] < limit]
        if len(rows) > size:
            smallest, places = keys[rows].topk(size + 1, largest=False)
            limit, rows = smallest[-1], rows[places[:-1]]
        if len(rows):
            return rows, limit.item()
        looked_at *= 4
    _update(line, keys, told, (told < number).nonzero().squeeze(1), number)
    if 2 * size >= n_rows:
        return None
    smallest, rows = keys.topk(size + 1, largest=False)
    return rows[:-1], smallest[-1].item()


def _update(line: Line, keys: Tensor, told: Tensor, rows: Tensor, number: int) -> None:
    """Tell rows of all choices up to ``number``."""
    for known in told[rows].unique().tolist():
        group = rows[told[rows] == known]
        if len(group) == len(line):
            line.tell(known, number)
            keys.copy_(line.keys())
            continue
        for piece in group.split(_PIECE):
            part = line.take(piece)
            part.tell(known, number)
            line.put(piece, part)
            keys[piece] = part.keys()
    told[rows] = number
