"""Ask a strategy for a batch: seed the global generators, check its answer, and undo its side effects."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from deepal_autoal.errors import QueryError
from deepal_autoal.isolation.blame import blaming
from deepal_autoal.isolation.guards import guarded
from deepal_autoal.isolation.process_state import global_seed
from deepal_autoal.isolation.watchdog import watched
from deepal_autoal.numerics.devices import bounded_memory
from deepal_autoal.numerics.precision import deterministic
from deepal_autoal.querying.context import damaged_results
from deepal_autoal.querying.strategy import Query, ScoringStrategy, Strategy, check_query

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
    builtin = strategy.provider is not None and strategy.provider.builtin
    with (
        watched(
            f"{Strategy.__str__(strategy)} has been choosing", SLOW_QUERY, logging.INFO if builtin else logging.WARNING
        ),
        global_seed(context.stream_seed("global"), context.device),
        deterministic(context.device),
        guarded(
            Strategy.__str__(strategy),
            "query",
            context.model,
            partial(damaged_results, (context.candidates, context.labeled)),
            thorough=not builtin,
        ),
        blaming(Strategy.__str__(strategy)),
        bounded_memory("the query", "give a smaller --pool-size or --batch-size, or choose a strategy that needs less"),
    ):
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


def ask_probabilities(strategy: Strategy, context: QueryContext, batch_size: int) -> Tensor | None:
    """Return a strategy's ``choice_probabilities``, float (n_candidates,), or None.

    Raises:
        QueryError: If it raises or returns anything else.
    """
    doing = "choice_probabilities"
    damage = partial(damaged_results, (context.candidates, context.labeled))
    with guarded(strategy, doing, context.model, damage), blaming(strategy, doing):
        given = strategy.choice_probabilities(context, batch_size)
        if given is None:
            return None
        n = len(context.candidates)
        is_right = tuple(given.shape) == (n,) and bool(((given >= 0) & (given <= 1)).all())
        if not is_right or abs(float(given.double().sum()) - batch_size) > 1e-3 * batch_size:
            raise QueryError(f"{strategy}: {doing} did not return {n} probabilities that sum to {batch_size}")
        return given
