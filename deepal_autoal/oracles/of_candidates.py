"""Oracles over the batches of candidate strategies: best candidate of a round, of the round before, and BoSS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from deepal_autoal.oracles.base import Count, NeedsTrueLabels, Oracle, best_of, check_least, no_progress
from deepal_autoal.querying.selector import SelectorStrategy

if TYPE_CHECKING:
    from deepal_autoal.oracles.judge import Judge
    from deepal_autoal.oracles.trials import Trial
    from deepal_autoal.querying.context import QueryContext
    from deepal_autoal.querying.strategy import Strategy

# BoSS's strategies, of which these may be used in a real run.
STRATEGIES = ("random", "typiclust", "dropquery", "bait", "margin", "badge", "coreset", "alfamix")


class CandidateOracle(Oracle, SelectorStrategy):
    """An oracle over candidates."""

    default_candidates: ClassVar[tuple[str, ...]] = STRATEGIES

    def __init__(self, candidates: Mapping[str, Strategy], recheck: int = 0) -> None:
        Oracle.__init__(self, recheck)
        SelectorStrategy.__init__(self, candidates)

    def bind(self, judge: Judge) -> None:
        """Receive the hidden labels, also for the candidates that need them."""
        super().bind(judge)
        for candidate in self.candidates.values():
            if isinstance(candidate, NeedsTrueLabels):
                candidate.bind(judge)


class BestCandidate(CandidateOracle):
    """NOT A STRATEGY. The best single candidate of each round: every candidate's batch is tried (see `Oracle`).

    Args:
        candidates: The candidates; each chooses from the whole pool.
        recheck: See `Oracle`.
    """

    def try_batches(self, context: QueryContext, batch_size: int, count: Count) -> list[Trial]:
        """Return one trial for each candidate."""
        trials = []
        for number, name in enumerate(self.candidates):
            count(number, len(self.candidates))
            batch = self.ask_candidate(name, context, batch_size)
            trials.append(self.judge.try_batch(name, len(context.candidates), batch))
        return trials


class PreviousBest(BestCandidate):
    """NOT A STRATEGY. The candidate that was the best one a round earlier; in round 0, a random one.

    All candidates' batches are tried as in `BestCandidate`. If the best candidate of a round stays good in the next,
    this comes close to `BestCandidate`; if it is the best by chance, this is no better than a random candidate.
    """

    _last: str | None = None

    def decide(self, context: QueryContext, trials: Sequence[Trial]) -> int:
        """Return the position of the last round's best candidate, and remember this round's."""
        names = list(self.candidates)
        last = self._last if self._last is not None else names[context.rng.integers(len(names))]
        self._last = trials[best_of(trials)].strategy
        return names.index(last)

    def state_dict(self) -> dict[str, Any]:
        """Return the last round's best candidate, and the candidates' states."""
        return {**super().state_dict(), "last": self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self._last = state.get("last")


class BestOfStrategies(CandidateOracle):
    """NOT A STRATEGY. BoSS, the best of many batches from random parts of the pool (Huseljic et al. 2026).

    For each batch a candidate is drawn at random, and chooses from a random sub-pool whose size is drawn uniformly, so
    one candidate gives many different batches. The authors score on the test set and train 50 epochs where the run
    trains 200; here the third split scores, after the run's own training.

    Args:
        candidates: The candidates.
        batches: Number of batches a round.
        least: The smallest sub-pool, in batches.
        largest: The largest sub-pool, in samples.
        recheck: See `Oracle`.

    Raises:
        InputError: If an option is out of range.
    """

    default_candidates = (*STRATEGIES, "typiclass", "dropqueryclass")

    def __init__(
        self, candidates: Mapping[str, Strategy], batches: int = 100, least: int = 4, largest: int = 5000,
        recheck: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(candidates, recheck)
        for name, value in (("batches", batches), ("least", least), ("largest", largest)):
            check_least(name, value, 1)
        self.batches = batches
        self.least = least
        self.largest = largest

    def try_batches(self, context: QueryContext, batch_size: int, count: Count) -> list[Trial]:
        """Return the trials, each of a candidate on a sub-pool."""
        names, pool = list(self.candidates), context.candidates.indices
        smallest = min(self.least * batch_size, len(pool))
        largest = max(smallest, min(self.largest, len(pool)))
        trials = []
        for number in range(self.batches):
            count(number, self.batches)
            name = names[context.rng.integers(len(names))]
            size = int(context.rng.integers(smallest, largest, endpoint=True))
            part = np.sort(context.rng.choice(pool, size, replace=False))
            rebuilt = context.rebuild(candidates=part, purpose=f"batch {number}")
            rebuilt.progress = no_progress
            batch = self.ask_candidate(name, rebuilt, batch_size)
            trials.append(self.judge.try_batch(name, size, batch))
        return trials
