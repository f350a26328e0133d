"""Check of strategies that pick in turn with others in a way of their own."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.querying.asking import ask_in_turn
from deepal_autoal.querying.strategy import Strategy
from deepal_autoal.testing.failure_text import failing
from deepal_autoal.testing.report import CheckFailedError, CheckSkippedError
from deepal_autoal.testing.subject import BATCH

if TYPE_CHECKING:
    from deepal_autoal.testing.subject import Subject


def picks_in_turn_are_right(subject: Subject) -> None:
    """Picked one by one, a batch is that of query; with samples taken by others, the picks are free candidates."""
    if type(subject.create()).picks_in_turn is Strategy.picks_in_turn:
        raise CheckSkippedError("it does not override picks_in_turn")
    expected = subject.reference.indices.tolist()
    given = _picks(subject, [], BATCH)
    if set(given) != set(expected):
        raise CheckFailedError(
            f"the picks {expected} of query, if others take nothing",
            str(given),
            "choose by the same rule in picks_in_turn and query, with the same draws from context.generator",
        )
    size = BATCH if subject.is_slow else subject.problem.n_candidates
    context = subject.context(subject.problem)
    _picks(subject, np.random.default_rng(0).permutation(context.candidates.indices).tolist(), size)


def _picks(subject: Subject, others: list[int], batch_size: int) -> list[int]:
    """Return the picks of a new strategy while others take samples: two before its first pick, one before each other.

    Args:
        subject: The strategy.
        others: What others take, in this order, as far as it is free.
        batch_size: How many samples are taken in all.
    """
    subject.limit.require()
    strategy = subject.create()
    context = subject.context(subject.problem, strategy=strategy)
    given: list[int] = []
    taken = others[:2]
    waiting = iter(others[2:])
    advice = "leave out what is in taken, and yield candidates until batch_size samples are taken"
    with failing("free candidates until the batch is complete", advice, subject.home), subject.calls.record():
        picks = ask_in_turn(strategy, context, batch_size, taken)
        while len(taken) < batch_size:
            given.append(next(picks))
            taken += [other for other in islice(waiting, 1) if other not in taken and len(taken) < batch_size]
    return given
