"""Ask a strategy for a batch: seed the global generators, check its answer, and undo its side effects."""

from __future__ import annotations

import logging
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, overload

from deepal_autoal.errors import QueryError
from deepal_autoal.isolation.blame import blaming
from deepal_autoal.isolation.guards import guarded
from deepal_autoal.isolation.process_state import global_seed
from deepal_autoal.isolation.watchdog import watched
from deepal_autoal.numerics.devices import bounded_memory
from deepal_autoal.numerics.precision import deterministic
from deepal_autoal.querying.context import damaged_results, views_of
from deepal_autoal.querying.strategy import Query, ScoringStrategy, Strategy, check_query, check_report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal.querying.context import QueryContext

SLOW_QUERY = 60.0


@dataclass(frozen=True)
class Answer:
    """A strategy's checked answer.

    Attributes:
        indices: Pool indices, int64 (batch_size,), read-only.
        report: JSON-able values.
        scores: For a strategy that only scores, float (n_candidates,), higher = more informative; else None.
    """

    indices: NDArray[np.int64]
    report: Mapping[str, Any]
    scores: Tensor | None


def ask(strategy: Strategy, context: QueryContext, batch_size: int) -> Answer:
    """Return a strategy's checked answer.

    What it draws from the global generators of Python, numpy and torch depends on the context's random key alone, and
    the generators are restored. Anything it changes in the process or in the model's modes is restored too, with a
    warning.

    Raises:
        QueryError: If it raises, returns anything but what was requested, or changes the model's weights or shared
            outputs; the message names it and its distribution.
    """
    with _asking(strategy, context, "query", "global"):
        scores = None
        if isinstance(strategy, ScoringStrategy) and type(strategy).query is ScoringStrategy.query:
            scores = strategy.checked_scores(context)
            given: Any = strategy.highest(context, scores, batch_size)
        else:
            given = strategy.query(context, batch_size)
        query = given if isinstance(given, Query) else Query(given)
        if isinstance(query.report, Mapping):
            query = Query(query.indices, {**context.reported, **query.report})
        checked = check_query(strategy, query, context.candidates.indices, batch_size)
    return Answer(checked.indices, checked.report, scores)  # type: ignore[arg-type]


def ask_in_turn(strategy: Strategy, context: QueryContext, batch_size: int, taken: list[int]) -> Iterator[int]:
    """Yield a strategy's checked ``picks_in_turn``, each after it was appended to ``taken``.

    Every step that runs the strategy's code has the safeguards of `ask`. ``context.reported`` holds what it reported
    so far.

    Args:
        strategy: The strategy.
        context: The round.
        batch_size: How many samples will be taken in all.
        taken: The pool indices taken so far, by anyone; others may append to it between steps.

    Raises:
        QueryError: If it raises, yields anything but the index of a candidate that is not taken, ends before
            ``batch_size`` samples are taken, or changes the model's weights or shared outputs; the message names it
            and its distribution.
    """
    doing = "query" if type(strategy).picks_in_turn is Strategy.picks_in_turn else "picks_in_turn"
    expected = "; expected the pool index of an unlabeled candidate that is not taken"
    is_taken = _Taken(taken)
    picks: Iterator[int] | None = None
    for number in count():
        # The first step draws from the global generators what `ask` would.
        seed = f"global {number}" if number else "global"
        # The rest of a query's batch is only walked through.
        is_walk = number and doing == "query"
        with nullcontext() if is_walk else _asking(strategy, context, doing, seed):
            picks = picks or iter(strategy.picks_in_turn(context, batch_size, is_taken))
            pick = next(picks, None)
        if pick is None:
            if len(taken) < batch_size:
                raise QueryError(f"{strategy}: {doing} ended after {len(taken)} of {batch_size} samples{expected}")
            return
        try:
            index = operator.index(pick)
        except TypeError:
            raise QueryError(f"{strategy}: {doing} gave {type(pick).__name__}{expected}") from None
        if index in is_taken:
            raise QueryError(f"{strategy}: {doing} gave {index}, which is taken already{expected}")
        if not (context.candidates.indices == index).any():
            raise QueryError(f"{strategy}: {doing} gave {index}, which is labeled or not in the pool{expected}")
        context.reported = check_report(strategy, context.reported)
        taken.append(index)
        yield index


class _Taken(Sequence[int]):
    """A list that grows elsewhere: read only, and membership takes constant time."""

    def __init__(self, indices: list[int]) -> None:
        self._indices = indices
        self._members: set[int] = set()
        self._n_members = 0

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> list[int]: ...
    def __getitem__(self, place: int | slice) -> int | list[int]:
        return self._indices[place]

    def __contains__(self, index: object) -> bool:
        self._members.update(self._indices[self._n_members :])
        self._n_members = len(self._indices)
        return index in self._members


@contextmanager
def _asking(strategy: Strategy, context: QueryContext, doing: str, seed: str) -> Iterator[None]:
    """Run a strategy's code inside the block with all safeguards.

    Args:
        strategy: The strategy.
        context: The round.
        doing: The method, for messages.
        seed: Names the stream of the global generators.
    """
    name = Strategy.__str__(strategy)
    builtin = strategy.provider is not None and strategy.provider.builtin
    with (
        watched(f"{name} has been choosing", SLOW_QUERY, logging.INFO if builtin else logging.WARNING),
        global_seed(context.stream_seed(seed), context.device),
        deterministic(context.device),
        guarded(
            name,
            doing,
            context.model,
            partial(damaged_results, views_of(context)),
            thorough=not builtin,
        ),
        blaming(name, doing),
        bounded_memory("the query", "give a smaller --pool-size or --batch-size, or choose a strategy that needs less"),
    ):
        yield


def ask_probabilities(strategy: Strategy, context: QueryContext, batch_size: int) -> Tensor | None:
    """Return a strategy's ``choice_probabilities``, float (n_candidates,), or None.

    Raises:
        QueryError: If it raises or returns anything else.
    """
    doing = "choice_probabilities"
    damage = partial(damaged_results, views_of(context))
    with guarded(strategy, doing, context.model, damage), blaming(strategy, doing):
        given = strategy.choice_probabilities(context, batch_size)
        if given is None:
            return None
        n = len(context.candidates)
        is_right = tuple(given.shape) == (n,) and bool(((given >= 0) & (given <= 1)).all())
        if not is_right or abs(float(given.double().sum()) - batch_size) > 1e-3 * batch_size:
            raise QueryError(f"{strategy}: {doing} did not return {n} probabilities that sum to {batch_size}")
        return given
