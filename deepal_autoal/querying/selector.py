"""The contract of a strategy that combines other registered strategies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from deepal_autoal.errors import InputError
from deepal_autoal.isolation.blame import Provider, blaming
from deepal_autoal.jsonable import to_jsonable
from deepal_autoal.measuring.profile import section
from deepal_autoal.querying.strategy import Requirement, Strategy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal.querying.asking import Answer
    from deepal_autoal.querying.context import QueryContext


class SelectorStrategy(Strategy):
    """Combines other registered strategies, its candidates.

    Args:
        candidates: Strategies by name, in the order in which they are reported.

    Attributes:
        default_candidates: The names, or sets such as ``all-cheap``, used when none are given.
        candidates: The candidate strategies by name.
        candidate_words: If a set such as ``all-cheap`` was given, everything that was given, each item with the names
            that it stands for; else empty.
    """

    default_candidates: ClassVar[tuple[str, ...]] = ()
    own_requires: ClassVar[frozenset[Requirement]] = frozenset()
    candidate_words: Mapping[str, Sequence[str]] = {}

    def __init__(self, candidates: Mapping[str, Strategy]) -> None:
        if not candidates:
            raise InputError(f"{type(self).__name__} needs at least one candidate strategy")
        if not isinstance(candidates, Mapping) or not all(isinstance(item, Strategy) for item in candidates.values()):
            raise InputError(
                f"{type(self).__name__} takes candidates as strategies by name, such as {{'margin': "
                "create_strategy('margin')}; create_strategy also takes their names, classes and functions"
            )
        self.candidates = dict(candidates)

    @property
    def requires(self) -> frozenset[Requirement]:  # type: ignore[override]
        """The union of the candidates' requirements and the selector's own (``own_requires``)."""
        return self.own_requires.union(*(candidate.requires for candidate in self.candidates.values()))

    def ask_candidate(self, name: str, context: QueryContext, batch_size: int) -> NDArray[np.int64]:
        """Return a candidate's checked batch, int64 (batch_size,) (see `consult_candidate`)."""
        return self.consult_candidate(name, context, batch_size).indices

    def consult_candidate(self, name: str, context: QueryContext, batch_size: int) -> Answer:
        """Return a candidate's checked answer: its batch, its report and, if it only scores, its scores.

        Its random streams depend on its name, not on the order of calls. What it reports about the selector's own
        context is recorded under ``candidates``.

        Args:
            name: The candidate's name.
            context: The selector's own context, or one that it rebuilt.
            batch_size: How many samples to ask for.

        Raises:
            QueryError: If the candidate fails; the message names it and its distribution.
        """
        from deepal_autoal.querying.asking import ask

        with section(f"candidate {name}"):
            answer = ask(self.candidates[name], context.for_candidate(name), batch_size)
        if answer.report:
            # In a rebuilt context the report stays there: it is not about the round's own query.
            context.reported.setdefault("candidates", {})[name] = dict(answer.report)
        return answer

    def candidate_picks(self, name: str, context: QueryContext, batch_size: int, taken: list[int]) -> Iterator[int]:
        """Yield a candidate's checked picks one at a time, each given what is taken (see `Strategy.picks_in_turn`).

        Each pick is appended to ``taken``, the list that all candidates of a batch share::

            taken = []
            picks = {name: self.candidate_picks(name, context, batch_size, taken) for name in self.candidates}
            for _ in range(batch_size):
                next(picks[self.draw_candidate()])

        The candidate is asked when the first pick is requested; all its picks cost about one query. Random streams
        and reports are those of `consult_candidate`.

        Args:
            name: The candidate's name.
            context: The selector's own context, or one that it rebuilt.
            batch_size: How many samples will be taken in all; until then there are picks.
            taken: The pool indices taken so far, by anyone.

        Raises:
            QueryError: If the candidate fails, or gives anything but a free candidate sample; the message names it
                and its distribution.
        """
        from deepal_autoal.querying.asking import ask_in_turn

        own = context.for_candidate(name)
        picks = ask_in_turn(self.candidates[name], own, batch_size, taken)
        while True:
            with section(f"candidate {name}"):
                pick = next(picks, None)
            if own.reported:
                context.reported.setdefault("candidates", {})[name] = dict(own.reported)
            if pick is None:
                return
            yield pick

    def candidate_probabilities(self, name: str, context: QueryContext, batch_size: int) -> Tensor | None:
        """Return a candidate's checked ``choice_probabilities``, (n_candidates,), or None.

        Its random streams are those of `consult_candidate`.

        Raises:
            QueryError: If they are not one probability per candidate sample; the message names the candidate.
        """
        from deepal_autoal.querying.asking import ask_probabilities

        with section(f"candidate {name}"):
            return ask_probabilities(self.candidates[name], context.for_candidate(name), batch_size)

    def state_dict(self) -> dict[str, Any]:
        """Return the candidates' states by name; a selector with a state of its own adds to them."""
        states = {}
        for name, candidate in self.candidates.items():
            with blaming(candidate, "state_dict"):
                states[name] = candidate.state_dict()
        return {"candidates": states} if any(states.values()) else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, candidate_state in state.get("candidates", {}).items():
            with blaming(self.candidates[name], "load_state_dict"):
                self.candidates[name].load_state_dict(candidate_state)


def describe_strategy(strategy: Strategy) -> dict[str, Any]:
    """Return a strategy's name, options, distribution and candidates as a JSON-able dict, for the record."""
    described: dict[str, Any] = {
        "name": strategy.name or type(strategy).__name__,
        "options": {str(key): to_jsonable(value, strict=False) for key, value in strategy.describe_options().items()},
        "requires": sorted(strategy.requires),
        "changes_training": strategy.changes_training,
    }
    if strategy._code:
        described["code"] = strategy._code
    if strategy._source:
        described["source"] = strategy._source
    if strategy.provider is not None:
        described["distribution"] = strategy.provider.distribution
        described["version"] = strategy.provider.version
    if isinstance(strategy, SelectorStrategy):
        described["candidates"] = [describe_strategy(candidate) for candidate in strategy.candidates.values()]
    return described


def providers_of(strategy: Strategy) -> Sequence[Provider]:
    """Return the distributions of a strategy and of its candidates."""
    own = [strategy.provider] if strategy.provider is not None else []
    if isinstance(strategy, SelectorStrategy):
        for candidate in strategy.candidates.values():
            own.extend(providers_of(candidate))
    return own
