"""Lazy greedy choice: repeatedly the row with the smallest key, updating only the keys that matter.

How it works: a choice can only raise the other rows' keys. A key that does not include the latest choices is thus a
lower bound, and a row needs an update only when its bound is among the smallest (lazy greedy, Minoux 1978). A heap
would update one row at a time. Here a small active set of rows is kept up to date instead, until its smallest key
reaches a limit that no row outside it is below; then a new active set is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from deepal_strategies.shared.row_blocks import UPDATES

# Rows searched for an active set, at first and at least. More rows mean fewer sets, but more work per choice.
_MIN_SIZE = 256
# If an active set gave fewer choices than the first number, the next is twice as large; from the second on, half.
_FEW, _MANY = 32, 128
# Choices after which the active set is rebuilt in any case.
_MAX_CHOICES = 256

Q = TypeVar("Q", bound="PriorityQueue")


class PriorityQueue(Protocol):
    """Rows with keys: the row with the smallest key is next, and keys only rise as rows are chosen.

    A row's key includes the choices it was updated for; until it includes all of them, it is a lower bound.
    """

    def __len__(self) -> int:
        """Return the number of rows."""

    def take(self: Q, rows: Tensor) -> Q:
        """Return copies of some rows, int64 (m,), as a queue of their own with the same record of choices."""

    def put(self: Q, rows: Tensor, part: Q) -> None:
        """Copy the state of such copies back to their rows."""

    def update(self, first: int, last: int) -> None:
        """Update all rows, which include the choices before ``first``, for those from it to ``last`` - 1."""

    def keys(self) -> Tensor:
        """Return the rows' keys, (n,): those of chosen rows are the largest; equal keys have no fixed order."""

    def record(self, number: int, row: Tensor, key: Tensor | None) -> None:
        """Record that the row at position ``row``, (1,), with the key ``key``, (1,), is choice ``number``.

        Without a key, another strategy chose it.
        """


def choose_eagerly(queue: PriorityQueue, n_done: int, n_choices: int) -> Tensor:
    """Update every row after every choice; nothing is read back from the device.

    Args:
        queue: All rows, up to date.
        n_done: Number of choices so far.
        n_choices: Number of choices at the end.

    Returns:
        The rows chosen here, in order, int64 (n_choices - n_done,). All rows are up to date afterwards.
    """
    # Preallocated, as in `by_rows`.
    chosen = torch.empty(n_choices - n_done, dtype=torch.int64, device=queue.keys().device)
    for number in range(n_done, n_choices):
        key, row = queue.keys().min(dim=0, keepdim=True)
        queue.record(number, row, key)
        chosen[number - n_done : number - n_done + 1] = row
        queue.update(number, number + 1)
    return chosen


def choose_in_turn(queue: PriorityQueue, n_done: int, n_choices: int, others: Callable[[], Tensor]) -> Iterator[int]:
    """Yield the choices of `choose_eagerly` one at a time, while other strategies choose rows in between.

    All rows are updated before a choice, for all that were chosen since the last one in a single pass.

    Args:
        queue: All rows, up to date.
        n_done: Number of choices so far.
        n_choices: Number of choices at the end, those of others included.
        others: Returns the rows that others chose since the last call, int64 (m,).
    """
    number = n_done
    while True:
        for row in others()[: n_choices - number, None]:
            queue.record(number, row, None)
            number += 1
        if number == n_choices:
            return
        if number > n_done:
            queue.update(n_done, number)
        n_done = number
        key, row = queue.keys().min(dim=0, keepdim=True)
        queue.record(number, row, key)
        number += 1
        yield int(row)


def choose_lazily(queue: PriorityQueue, n_done: int, n_choices: int, min_size: int = _MIN_SIZE) -> Tensor:
    """Make the same choices, but update a row only when it may be next.

    Only the rows of a small active set are updated after every choice. The keys of all others are at least the set's
    limit, and keys can only rise. When no key of the active set is below its limit, a new set is built: the rows with
    the smallest keys are brought up to date, more and more of them until the smallest key of all is up to date. No
    row is updated for a choice twice, so the work is at most that of `choose_eagerly`; where no active set lasts, all
    rows end up in it.

    Arguments and result are those of `choose_eagerly`, plus ``min_size``, the smallest number of rows searched for an
    active set; here rows may end without including all choices.
    """
    n_rows = len(queue)
    keys = queue.keys().clone()
    until = torch.full((n_rows,), n_done, dtype=torch.int32)
    chosen = torch.empty(n_choices - n_done, dtype=torch.int64)
    number, search_size, size = n_done, min_size, min_size
    while number < n_choices:
        rows, limit = _active_set(queue, keys, until, number, search_size, size)
        is_part = len(rows) < n_rows
        active = queue.take(rows) if is_part else queue
        start = number
        while number < min(start + _MAX_CHOICES, n_choices):
            key, position = active.keys().min(dim=0, keepdim=True)
            if key.item() >= limit:
                break
            active.record(number, position, key)
            chosen[number - n_done] = rows[position]
            active.update(number, number + 1)
            number += 1
        if is_part:
            queue.put(rows, active)
        keys[rows] = active.keys()
        until[rows] = number
        if number - start < _FEW:
            # Either the active set was too small, or too few rows were up to date to be in it.
            if len(rows) >= size:
                size = min(2 * size, n_rows)
            search_size = min(2 * search_size, n_rows)
        elif number - start >= _MANY:
            size, search_size = max(size // 2, min_size), max(search_size // 2, min_size)
    return chosen


def _active_set(
    queue: PriorityQueue, keys: Tensor, until: Tensor, number: int, search_size: int, size: int
) -> tuple[Tensor, float]:
    """Return rows that are up to date, and a limit: their keys are below it, those of all other rows are not.

    Args:
        queue: All rows.
        keys: Their keys or lower bounds, (n,); updated here.
        until: Number of choices that each key includes, int32 (n,); updated here.
        number: Number of choices so far.
        search_size: How many rows to bring up to date at first.
        size: How many rows to return at most; all rows if it is more than half of them.
    """
    everything = torch.arange(len(queue))
    if 2 * size > len(queue):
        _update(queue, keys, until, everything, number)
        return everything, math.inf
    while True:
        is_small = 2 * search_size < len(queue)
        rows = keys.topk(search_size, largest=False, sorted=False).indices if is_small else everything
        _update(queue, keys, until, rows, number)
        smallest, rows = keys.topk(size + 1, largest=False)
        # Up to the first row that is not up to date.
        n_ready = int((until[rows[:size]] == number).cumprod(dim=0).sum())
        if n_ready:
            return rows[:n_ready], smallest[n_ready].item()
        search_size *= 4


def _update(queue: PriorityQueue, keys: Tensor, until: Tensor, rows: Tensor, number: int) -> None:
    """Update rows for the choices up to ``number`` that their keys do not include."""
    rows = rows[until[rows] < number]
    for first in torch.unique(until[rows]).tolist():
        group = rows[until[rows] == first]
        if len(group) == len(queue):
            queue.update(first, number)
            keys.copy_(queue.keys())
        else:
            for block in torch.split(group, UPDATES.rows()):
                part = queue.take(block)
                part.update(first, number)
                queue.put(block, part)
                keys[block] = part.keys()
    until[rows] = number
