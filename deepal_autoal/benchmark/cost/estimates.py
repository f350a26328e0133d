"""Estimate what a grid will cost, seconds and memory of every run, by a short probe before it starts."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from deepal_autoal.benchmark.cost.probing import probes
from deepal_autoal.benchmark.cost.run_cost import Cost
from deepal_autoal.benchmark.grid import Grid, GridRun
from deepal_autoal.experiment.results import FinishedRun
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.plugins.cost_formulas import SYMBOLS, evaluate_cost
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.registry import is_oracle

logger = logging.getLogger(__name__)

# Seconds to measure a strategy's queries, in a dry run and before a benchmark.
_DRY_RUN_SECONDS, _BRIEF_SECONDS = 3.0, 0.7
# A probe that is not requested may take this share of the remaining time, but at least so many seconds.
_SHARE = 0.02
_LEAST_SECONDS = 1.0


class Estimates:
    """The cost of runs, by dataset and strategy: measured on finished runs if there are any, otherwise probed.

    Args:
        grid: The runs.
        finished: Runs that are already finished.
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
        """Record the cost of a finished run."""
        self._measured.setdefault((run.dataset, run.strategy), []).append(_cost_of(run))

    def of(self, run: GridRun) -> Cost | None:
        """Return the cost of a run, or None if nothing was measured yet.

        Probes are corrected by their error on pairs for which both are known. A strategy that was not probed counts as
        the cheapest probed one on its dataset, since strategies that are expensive by their cards are probed first.
        Oracles are the most expensive ones and only count for each other.
        """
        key = (run.dataset, run.strategy)
        if key in self._measured:
            return _mean(self._measured[key])
        if key in self._probed:
            return _scaled(self._probed[key], self._correction())
        known = [other for other in self._kinds if other.dataset == run.dataset and self.is_known(other)]
        alike = [other for other in known if is_oracle(other.strategy) == is_oracle(run.strategy)]
        costs = [cost for cost in map(self.of, alike or known) if cost is not None]
        if not alike and not is_oracle(run.strategy):  # only an oracle's is known, whose queries train many models
            costs = [replace(cost, query=0.0) for cost in costs]
        return min(costs, key=lambda cost: cost.seconds, default=None)

    @property
    def n_known(self) -> int:
        """The number of pairs of dataset and strategy that were measured."""
        return sum(map(self.is_known, self._kinds))

    @property
    def n_kinds(self) -> int:
        """The number of pairs of dataset and strategy."""
        return len(self._kinds)

    def seconds(
        self, runs: Iterable[GridRun], n_slots: int, done: Mapping[GridRun, float] | None = None
    ) -> float | None:
        """Return the seconds of runs, `n_slots` at a time, or None if nothing is known; round 0 counts once.

        Args:
            runs: The runs.
            n_slots: How many are executed at a time.
            done: The finished shares of runs in progress.
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

    @engine_call()
    def probe(self, progress: Callable[[int, int], None], *, is_asked_for: bool = False) -> None:
        """Probe strategies whose cost is not known yet.

        Args:
            progress: Called with the number of pairs of dataset and strategy probed, and their total.
            is_asked_for: Whether to probe all of them, not only as many as cost little of the remaining time.
        """
        unfinished = [run for run in self._grid.runs if not run.is_finished]
        unknown = [run for run in self._kinds if not self.is_known(run) and run.dataset in
                   {other.dataset for other in unfinished}]  # fmt: skip
        # One of each dataset, then the others; expensive strategies first, since they dominate the total.
        unknown.sort(key=lambda run: (run.dataset, -_weight(run)))
        first = list({run.dataset: run for run in reversed(unknown)}.values())
        if not unknown:
            progress(0, 0)
            return
        # In this process, CUDA's context would keep memory of the GPU until all runs are done.
        is_elsewhere = unknown[0].setup.device.type == "cuda" and not any(run.is_of_python for run in self._kinds)
        started = time.monotonic()
        with probes(_DRY_RUN_SECONDS if is_asked_for else _BRIEF_SECONDS, unknown[0], is_elsewhere) as cost_of:
            for number, run in enumerate([*first, *(run for run in unknown if run not in first)]):
                progress(number, len(unknown))
                ahead = self.seconds(unfinished, 1)
                is_enough = ahead is not None and time.monotonic() - started > max(_LEAST_SECONDS, _SHARE * ahead)
                if number >= len(first) and is_enough and not is_asked_for:
                    return
                try:
                    self._probed[run.dataset, run.strategy] = cost_of(run)
                except Exception as error:  # the run itself will report it
                    logger.debug("no probe of %s", run, exc_info=True)
                    self.failures[run.dataset, run.strategy] = " ".join(str(error).split())
        progress(len(unknown), len(unknown))

    def is_known(self, run: GridRun) -> bool:
        """Return whether a run's strategy was measured on its dataset."""
        return (run.dataset, run.strategy) in self._measured or (run.dataset, run.strategy) in self._probed

    def _correction(self) -> float:
        """Return the ratio of measured to probed seconds, over all pairs with both."""
        both = [key for key in self._measured if key in self._probed]
        took = sum(_mean(self._measured[key]).seconds for key in both)
        said = sum(self._probed[key].seconds for key in both)
        return took / said if said else 1.0


def _weight(run: GridRun) -> float:
    """Return a strategy's cost by its card, in arbitrary units."""
    strategy = run.settings["strategy"]
    if is_oracle(run.strategy):
        return math.inf
    formula = plugin_host().strategies.get(strategy).details.get("time") if isinstance(strategy, str) else None
    if not formula:
        return 0.0
    setup = run.setup
    n = setup.pool_size - setup.n_validation - setup.initial
    sizes = {
        **dict.fromkeys(SYMBOLS, 10), "N": n, "L": setup.initial, "b": setup.batch_size, "D": 100, "P": 1000,
        "E": 100, "ask": 1000 * n, "sweep": 1000 * n, "fit": 100_000 * n,
    }  # fmt: skip
    return float(evaluate_cost(formula, sizes))


def _round_0(run: GridRun) -> tuple[str, int] | None:
    """Return a key for the round 0 that a run shares, or None if it trains its own."""
    return None if run.changes_training or run.setup.recipe.compile else (run.dataset, run.seed)


def _cost_of(run: FinishedRun) -> Cost:
    train, evaluate, query = (run.phase_seconds(phase) or 0.0 for phase in ("train", "evaluate", "query"))
    first = run.seconds[0]
    if run.changes_training and run.plain_accuracy is not None:
        # A plain model's seconds are not recorded; they are taken to be as many, as in a probe.
        train, evaluate = 2 * train, 2 * evaluate
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
    return replace(
        cost, train=cost.train * factor, evaluate=cost.evaluate * factor, query=cost.query * factor,
        shared=cost.shared * factor,
    )  # fmt: skip
