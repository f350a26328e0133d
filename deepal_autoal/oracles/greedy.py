"""The greedy oracle: builds its batch sample by sample, each the best of a few random ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.oracles.base import Count, Oracle, best_of, check_least

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepal_autoal.oracles.trials import Trial
    from deepal_autoal.querying.context import QueryContext


class Greedy(Oracle):
    """NOT A STRATEGY. In each step, tries random samples beside the batch so far, and keeps the best one.

    This is the oracle of CDALBench (Werner et al. 2024). It costs ``tau`` trainings for every sample queried: for small
    data and fast models.

    Args:
        tau: Number of random samples in each step.
        recheck: See `Oracle`; of the last step's batches.

    Raises:
        InputError: If an option is out of range.
    """

    def __init__(self, tau: int = 20, recheck: int = 0) -> None:
        super().__init__(recheck)
        check_least("tau", tau, 1)
        self.tau = tau

    def try_batches(self, context: QueryContext, batch_size: int, count: Count) -> list[Trial]:
        """Return the trials of all steps; their batches grow from one sample to all."""
        trials: list[Trial] = []
        batch = np.empty(0, dtype=np.int64)
        for step in range(batch_size):
            rest = np.setdiff1d(context.candidates.indices, batch)
            drawn = context.rng.choice(rest, min(self.tau, len(rest)), replace=False)
            first = len(trials)
            for number, sample in enumerate(drawn):
                count(step * self.tau + number, batch_size * self.tau)
                trials.append(self.judge.try_batch("greedy", len(rest), np.append(batch, sample)))
            batch = trials[first + best_of(trials[first:])].batch
        return trials

    def decide(self, context: QueryContext, trials: Sequence[Trial]) -> int:
        """Return the position of the best whole batch."""
        whole = len(trials[-1].batch)
        first = next(place for place, trial in enumerate(trials) if len(trial.batch) == whole)
        return first + best_of(trials[first:])
