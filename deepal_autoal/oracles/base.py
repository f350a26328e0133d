"""`Oracle`: tries batches with their true labels, queries the best one, and records them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.errors import InputError
from deepal_autoal.querying.strategy import Query, Strategy

if TYPE_CHECKING:
    from deepal_autoal.oracles.judge import Judge
    from deepal_autoal.oracles.trials import Trial
    from deepal_autoal.querying.context import QueryContext

# Called with each further trial's number and their total.
Count = Callable[[int, int], None]


class NeedsTrueLabels(Strategy):
    """Chooses by labels that no strategy of a real run may see; `run` gives them with `bind`."""

    _judge: Judge | None = None

    def bind(self, judge: Judge) -> None:
        """Receive the hidden labels and the third split of the run."""
        self._judge = judge

    @property
    def judge(self) -> Judge:
        """What holds the hidden labels.

        Raises:
            InputError: Outside of a simulation, where there are none.
        """
        if self._judge is None:
            raise InputError(f"{self} is an oracle: it needs the hidden labels, which only a simulated run has")
        return self._judge


class Oracle(NeedsTrueLabels):
    """NOT A STRATEGY. Queries the batch after which the task model is best on the third split.

    Each batch that is tried is labeled with its true labels, and the task model is trained on all labels as the run
    would do next, with the same seed. The highest accuracy wins; of several, the lowest loss, then the first. This
    looks one round ahead: a batch that pays off later may be better over the whole run.

    Args:
        recheck: How many of the best batches are trained once more with a fresh seed, after which the mean of both
            decides. The best of many noisy scores is too high (the winner's curse); this reduces what training adds to
            it. A solved model has no such noise.

    Raises:
        InputError: If an option is out of range.
    """

    def __init__(self, recheck: int = 0) -> None:
        check_least("recheck", recheck, 0)
        self.recheck = recheck

    def try_batches(self, context: QueryContext, batch_size: int, count: Count) -> list[Trial]:
        """Return the trials of a round, in their order; the last ones may depend on the first."""
        raise TypeError(f"{type(self).__name__} does not implement try_batches(context, batch_size, count)")

    def decide(self, context: QueryContext, trials: Sequence[Trial]) -> int:
        """Return the position of the trial to query."""
        return best_of(trials)

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the best batch; the report names what chose it, and has the scores before and after."""
        judge = self.judge
        before = judge.score(context.model)
        # Trials are counted, from which their time is estimated, and not the steps of candidates between them.
        progress, context.progress = context.progress, no_progress

        def count(done: int, total: int) -> None:
            progress(done, total + self.recheck)

        trials = self.try_batches(context, batch_size, count)
        again = [place for place in _best_first(trials) if len(trials[place].batch) == batch_size][: self.recheck]
        for number, place in enumerate(again):
            progress(len(trials) + number, len(trials) + self.recheck)
            trials[place] = judge.try_again(trials[place])
        chosen = self.decide(context, trials)
        judge.record(context.round, context.labeled.indices, before, tuple(trials), chosen)
        best: dict[str, float] = {}
        for trial in trials:
            best[trial.strategy] = max(trial.accuracy, best.get(trial.strategy, 0.0))
        found = trials[chosen]
        report = {
            "is_oracle": True, "chosen": found.strategy, "subpool_size": found.subpool_size, "trials": len(trials),
            "accuracy_before": before.accuracy, "accuracy": found.accuracy, "loss_before": before.loss,
            "loss": found.loss, "best_accuracies": best,
        }  # fmt: skip
        return Query(found.batch, report)


def no_progress(done: int, total: int) -> None:
    """Report nothing."""


def best_of(trials: Sequence[Trial]) -> int:
    """Return the position of the best trial; those that were trained again come before all others."""
    return _best_first(trials)[0]


def _best_first(trials: Sequence[Trial]) -> list[int]:
    return sorted(range(len(trials)), key=lambda place: _badness(trials[place]))  # stable


def _badness(trial: Trial) -> tuple[bool, float, float]:
    if np.isnan(trial.accuracy_again):
        return True, -trial.accuracy, trial.loss
    return False, -(trial.accuracy + trial.accuracy_again) / 2, (trial.loss + trial.loss_again) / 2


def check_least(name: str, value: int, least: int) -> None:
    """Refuse an option below its least value."""
    if value < least:
        raise InputError(f"option {name}={value}: give {least} or more")
