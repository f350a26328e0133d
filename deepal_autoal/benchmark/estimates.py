"""What a grid will cost, from a short probe before it starts: seconds and memory of every run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deepal_autoal.benchmark.grid import Grid, GridRun
from deepal_autoal.cost import SYMBOLS, evaluate_cost
from deepal_autoal.datasets import Dataset, load_dataset
from deepal_autoal.errors import InputError
from deepal_autoal.factory import create_strategy
from deepal_autoal.inputs import Inputs
from deepal_autoal.learner import ActiveLearner
from deepal_autoal.loop import using_threads
from deepal_autoal.measure import PeakMemory, Stopwatch, resident_bytes
from deepal_autoal.plugins import plugin_host
from deepal_autoal.process import restored
from deepal_autoal.results import FinishedRun
from deepal_autoal.strategy import Strategy

logger = logging.getLogger(__name__)

# A probe's sizes: enough to time, few enough to take about a second.
_STEPS = 12
_SWEEP_SECONDS = 0.4
_SMALLEST_POOL, _LARGEST_POOL = 256, 4096
_TEST_SAMPLES = 256
_QUERY_SECONDS = 5.0
# Of what is to come, an unasked probe may take this share, but at least so many seconds.
_SHARE = 0.02
_LEAST_SECONDS = 1.0


@dataclass(frozen=True)
class Cost:
    """What one run takes.

    Attributes:
        train: Seconds of training in all rounds.
        evaluate: Seconds of evaluation in all rounds.
        query: Seconds of all queries.
        shared: Seconds of round 0 that runs of one seed spend once; part of ``train`` and ``evaluate``.
        n_bytes: Peak memory of the process, or None where it cannot be measured.
    """

    train: float
    evaluate: float
    query: float
    shared: float = 0.0
    n_bytes: int | None = None

    @property
    def seconds(self) -> float:
        """All phases of all rounds."""
        return self.train + self.evaluate + self.query


class Estimates:
    """What runs cost, by dataset and strategy: measured on finished runs where there are any, else probed.

    Args:
        grid: The runs.
        finished: Runs that lie there already.
    """

    def __init__(self, grid: Grid, finished: Iterable[FinishedRun]) -> None:
        self._grid = grid
        # One run for each dataset and strategy.
        kinds = {(run.dataset, run.strategy): run for run in reversed(grid.runs)}
        self._kinds = list(kinds.values())[::-1]
        self._measured: dict[tuple[str, str], list[Cost]] = {}
        self._probed: dict[tuple[str, str], Cost] = {}
        self.failures: dict[tuple[str, str], str] = {}
        for run in finished:
            self.note(run)

    def note(self, run: FinishedRun) -> None:
        """Take in what a finished run took."""
        self._measured.setdefault((run.dataset, run.strategy), []).append(_cost_of(run))

    def of(self, run: GridRun) -> Cost | None:
        """Return what a run costs, or None if nothing was measured yet.

        Probes are corrected by how far they were off where both are known. A strategy that was not probed is taken for
        the cheapest one on its dataset that was: those whose cards say that they are dear are probed first.
        """
        key = (run.dataset, run.strategy)
        if key in self._measured:
            return _mean(self._measured[key])
        if key in self._probed:
            return _scaled(self._probed[key], self._correction())
        known = [self.of(other) for other in self._kinds if other.dataset == run.dataset and self.is_known(other)]
        return min((cost for cost in known if cost is not None), key=lambda cost: cost.seconds, default=None)

    @property
    def n_known(self) -> int:
        """Of how many pairs of dataset and strategy something was measured."""
        return sum(map(self.is_known, self._kinds))

    @property
    def n_kinds(self) -> int:
        """How many pairs of dataset and strategy there are."""
        return len(self._kinds)

    def seconds(
        self, runs: Iterable[GridRun], n_slots: int, done: Mapping[GridRun, float] | None = None
    ) -> float | None:
        """Return how long runs take, so many at a time, or None if nothing is known; round 0 counts once.

        Args:
            runs: The runs.
            n_slots: How many go on at a time.
            done: The shares of them that are done already, where some are.
        """
        longest, total = 0.0, 0.0
        done = done or {}
        trained = {_round_0(run) for run in done if done[run]}
        n_runs = 0
        for run in runs:
            cost = self.of(run)
            if cost is None:
                return None
            n_runs += 1
            left = cost.seconds * (1.0 - done.get(run, 0.0))
            if not done.get(run) and _round_0(run) is not None:
                if _round_0(run) in trained:
                    left -= cost.shared
                trained.add(_round_0(run))
            longest, total = max(longest, left), total + left
        return max(longest, total / max(1, min(n_slots, n_runs)))

    def probe(self, progress: Callable[[int, int], None], *, is_asked_for: bool = False) -> None:
        """Probe what is not known yet.

        Args:
            progress: Called with the pairs of dataset and strategy that were probed, and how many there are.
            is_asked_for: Whether to probe all of them; else only as many as take little of the time to come.
        """
        unfinished = [run for run in self._grid.runs if not run.is_finished]
        unknown = [run for run in self._kinds if not self.is_known(run) and run.dataset in
                   {other.dataset for other in unfinished}]  # fmt: skip
        # One of each dataset, then the others; dear strategies first, since they decide whether to look further.
        unknown.sort(key=lambda run: (run.dataset, -_weight(run)))
        first = list({run.dataset: run for run in reversed(unknown)}.values())
        probe: _Probe | None = None
        broken: dict[str, str] = {}
        started = time.monotonic()
        for number, run in enumerate([*first, *(run for run in unknown if run not in first)]):
            progress(number, len(unknown))
            ahead = self.seconds(unfinished, 1)
            is_enough = ahead is not None and time.monotonic() - started > max(_LEAST_SECONDS, _SHARE * ahead)
            if number >= len(first) and is_enough and not is_asked_for:
                return
            try:
                if run.dataset in broken:
                    raise InputError(broken[run.dataset])
                if probe is None or probe.dataset != run.dataset:
                    probe = None  # one dataset in memory at a time
                    try:
                        probe = _Probe(run)
                    except Exception as error:
                        broken[run.dataset] = str(error)
                        raise
                self._probed[run.dataset, run.strategy] = probe.of(run)
            except Exception as error:  # the run itself will say it
                logger.debug("no probe of %s", run, exc_info=True)
                self.failures[run.dataset, run.strategy] = " ".join(str(error).split())
        progress(len(unknown), len(unknown))

    def is_known(self, run: GridRun) -> bool:
        """Return whether a run's strategy was measured on its dataset."""
        return (run.dataset, run.strategy) in self._measured or (run.dataset, run.strategy) in self._probed

    def _correction(self) -> float:
        """Return by how much runs took longer than their probes said."""
        both = [key for key in self._measured if key in self._probed]
        took = sum(_mean(self._measured[key]).seconds for key in both)
        said = sum(self._probed[key].seconds for key in both)
        return took / said if said else 1.0


def _weight(run: GridRun) -> float:
    """Return how dear a strategy's card says that it is, in no unit."""
    formula = plugin_host().strategies.get(run.settings["strategy"]).details.get("time")
    if not formula:
        return 0.0
    setup = run.setup
    n = setup.pool_size - setup.initial
    sizes = {
        **dict.fromkeys(SYMBOLS, 10), "N": n, "L": setup.initial, "b": setup.batch_size, "D": 100, "P": 1000,
        "E": 100, "ask": 1000 * n, "sweep": 1000 * n, "fit": 100_000 * n,
    }  # fmt: skip
    return float(evaluate_cost(formula, sizes))


def _round_0(run: GridRun) -> tuple[str, int] | None:
    """Return what names the round 0 that a run shares, or None if it has its own."""
    return None if run.changes_training or run.setup.recipe.compile else (run.dataset, run.seed)


class _Enough(KeyboardInterrupt):
    """Ends a query that has told its progress and goes on for long; nobody takes it for a failure."""


class _Probe:
    """Short measurements on one dataset.

    Args:
        run: Any run on it.
    """

    def __init__(self, run: GridRun) -> None:
        self.dataset = run.dataset
        self._setup = run.setup
        self._data: Dataset = load_dataset(run.settings["dataset"], run.settings.get("data_dir"))
        self._recipe = replace(run.setup.recipe, epochs=1, min_steps=_STEPS, compile=False)
        self._test = min(_TEST_SAMPLES, len(self._data.x_test))
        with using_threads(run.settings.get("threads")), restored([]):
            learner = self._learner(Strategy(), _SMALLEST_POOL)
            learner.fit()  # what only the first training of a process takes
            self._evaluate = self._evaluation(learner)
        rate = len(self._data.x_test) / max(self._evaluate, 1e-9)
        self._pool = int(np.clip(rate * _SWEEP_SECONDS, _SMALLEST_POOL, _LARGEST_POOL))

    def of(self, run: GridRun) -> Cost:
        """Return what a run costs."""
        setup = self._setup
        with using_threads(run.settings.get("threads")), restored([]):
            call = run.settings
            strategy = create_strategy(call["strategy"], call["candidates"], **call["options"])
            learner = self._learner(strategy, self._pool)
            with Stopwatch(setup.device) as fit:
                learner.fit()
            per_step = fit.seconds / self._n_steps(self._recipe, len(learner.labeled_indices))
            steps = [
                self._n_steps(setup.recipe, setup.initial + number * setup.batch_size)
                for number in range(setup.n_rounds + 1)
            ]
            evaluate = self._evaluation(learner) if strategy.changes_training else self._evaluate
            n = len(learner.unlabeled_indices)
            batch_size = min(setup.batch_size, max(1, n // 4))
            peak = PeakMemory(setup.device)
            query, shares = 0.0, 1.0
            if setup.n_rounds:
                with peak:
                    query, shares = self._query(learner, batch_size)
        trained = learner.query_seconds.get("training", 0.0) / max(fit.seconds, 1e-9)
        unlabeled = [setup.pool_size - setup.initial - number * setup.batch_size for number in range(setup.n_rounds)]
        growth = self._growth(run, batch_size)
        queries = (
            sum(size / n for size in unlabeled)
            * growth
            * query
            * shares
            * max(0.0, 1 - learner.query_seconds.get("training", 0.0) / max(query, 1e-9))
        )
        queries += sum(trained * per_step * count for count in steps[:-1])
        n_bytes = None
        if peak.n_bytes is not None:
            n_bytes = (resident_bytes() or 0) + int(peak.n_bytes * max(1.0, unlabeled[0] / n if unlabeled else 1.0))
        return Cost(
            sum(steps) * per_step, (setup.n_rounds + 1) * evaluate, queries,
            0.0 if strategy.changes_training else steps[0] * per_step + evaluate, n_bytes,
        )  # fmt: skip

    def _learner(self, strategy: Strategy, pool: int) -> ActiveLearner:
        """Return a learner over a part of the pool, with about as many labels as a run has in the middle."""
        setup, data = self._setup, self._data
        rows = np.random.default_rng(0).permutation(len(data.x_train))[:pool]
        learner = ActiveLearner(
            data.x_train[np.sort(rows)], strategy, data.n_classes, model=setup.model, recipe=self._recipe,
            device=setup.device, n_rounds=max(1, setup.n_rounds),
        )  # fmt: skip
        middle = setup.initial + setup.n_rounds * setup.batch_size // 2
        labeled = np.arange(max(1, min(middle, len(rows) // 4)))
        learner.tell(labeled, data.y_train[np.sort(rows)][labeled])
        return learner

    def _evaluation(self, learner: ActiveLearner) -> float:
        """Return the seconds of one evaluation on the whole test split."""
        test = Inputs(self._data.x_test[: self._test], learner.normalization, learner.device)
        predictor = learner.predictor()
        predictor.accuracy(test, self._data.y_test[: self._test])
        with Stopwatch(learner.device) as watch:
            predictor.accuracy(test, self._data.y_test[: self._test])
        return watch.seconds * len(self._data.x_test) / self._test

    def _query(self, learner: ActiveLearner, batch_size: int) -> tuple[float, float]:
        """Return a query's seconds, and the factor for what was left when it was ended for taking long."""
        started = time.perf_counter()
        factor = 1.0

        def limit(done: int, total: int) -> None:
            nonlocal factor
            if done and time.perf_counter() - started > _QUERY_SECONDS:
                factor = total / done
                raise _Enough

        with suppress(_Enough):
            learner.query(batch_size, limit)
        return time.perf_counter() - started, factor

    def _growth(self, run: GridRun, batch_size: int) -> float:
        """Return by how much a query of a full batch takes longer, where the strategy's card says so."""
        formula = plugin_host().strategies.get(run.settings["strategy"]).details.get("time")
        if not formula:
            return 1.0
        one, n, b, both = (
            evaluate_cost(formula, {**dict.fromkeys(SYMBOLS, 1), "N": n, "b": b})
            for n, b in ((1, 1), (2, 1), (1, 2), (2, 2))
        )
        is_product = both - n - b + one > 0  # a term holds N*b
        return self._setup.batch_size / batch_size if is_product else 1.0

    @staticmethod
    def _n_steps(recipe: Any, n_labeled: int) -> int:
        return int(recipe.n_batches(n_labeled) * recipe.n_epochs(n_labeled))


def _cost_of(run: FinishedRun) -> Cost:
    train, evaluate, query = (run.phase_seconds(phase) or 0.0 for phase in ("train", "evaluate", "query"))
    first = run.seconds[0]
    return Cost(train, evaluate, query, 0.0 if run.changes_training else first["train"] + first.get("evaluate", 0.0))


def _mean(costs: list[Cost]) -> Cost:
    n = len(costs)
    known = [cost.n_bytes for cost in costs if cost.n_bytes is not None]
    return Cost(
        sum(cost.train for cost in costs) / n, sum(cost.evaluate for cost in costs) / n,
        sum(cost.query for cost in costs) / n, sum(cost.shared for cost in costs) / n,
        max(known) if known else None,
    )  # fmt: skip


def _scaled(cost: Cost, factor: float) -> Cost:
    return Cost(cost.train * factor, cost.evaluate * factor, cost.query * factor, cost.shared * factor, cost.n_bytes)
