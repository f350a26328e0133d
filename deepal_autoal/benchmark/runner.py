"""`run_benchmark`: does a grid's runs one after another, each in a run folder, and keeps the tables up to date."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepal_autoal.benchmark.grid import Grid, GridRun, plan_grid
from deepal_autoal.benchmark.tables import Tables
from deepal_autoal.errors import DeepALError, RunFolderError
from deepal_autoal.loop import run
from deepal_autoal.process import restored
from deepal_autoal.records import RunResult

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        run: The run.
        result: Its result, if it finished.
        failure: Why it did not, in a line.
    """

    run: GridRun
    result: RunResult | None = None
    failure: str | None = None


@dataclass(frozen=True)
class BenchmarkResult:
    """A benchmark, as far as it went.

    Attributes:
        grid: The runs that were asked for, and what was left out of ``all``.
        failures: The runs that failed this time.
        tables: All finished runs in the folder and their summary, earlier ones included.
    """

    grid: Grid
    failures: tuple[Outcome, ...]
    tables: Tables


def run_benchmark(
    strategies: str | Sequence[str],
    datasets: str | Sequence[str | Path],
    seeds: int | str | Sequence[int],
    out: str | Path,
    *,
    candidates: Sequence[str] | None = None,
    on_start: Callable[[Grid], None] | None = None,
    progress: Callable[[GridRun, str, int, int], None] | None = None,
    on_round: Callable[[GridRun, dict[str, Any]], None] | None = None,
    on_run: Callable[[Outcome], None] | None = None,
    command: Sequence[str] | None = None,
    **settings: Any,
) -> BenchmarkResult:
    """Compare strategies over datasets and seeds.

    Each run is a run folder ``out/<dataset>/<label>/seed-<s>``. Those that are finished are left as they are and
    those that were begun are continued, so that repeating a call continues it, and one with further strategies,
    datasets or seeds adds to it. After every run the tables are written anew from all finished runs in the folder.

    Args:
        strategies: Such as ``"random,vote5=vote[oversample=5],all"``, or a sequence of its parts (see
            `read_strategies`).
        datasets: Registered names or paths, in a sequence or separated by commas.
        seeds: How many, from 0 on, or which.
        out: The benchmark's folder.
        candidates: Candidates of all selectors among the strategies that have none of their own, as `run` takes them.
        on_start: Called with the grid once everything is checked.
        progress: Called as ``progress(run, phase, done, total)``.
        on_round: Called after each round with its record.
        on_run: Called after each run that finished or failed, once the tables hold it.
        command: The command line, for the runs' records.
        settings: What all runs share, by the names of `run`'s arguments.

    Returns:
        The failures, which stop no other runs, and the tables.

    Raises:
        InputError: If anything asked for cannot be done, as far as that shows without training: unknown names,
            options, budgets, or a model that lacks what a strategy requires.
        RunFolderError: If ``out`` cannot be written, or earlier runs of a dataset had other settings.
        PluginError: If the plugin of a strategy that was named is broken.
    """
    folder = Path(out)
    grid = plan_grid(strategies, datasets, seeds, folder, candidates, settings)
    tables = Tables(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot make {folder}: {error.strerror}; choose another --out") from error
    tables.write()  # whether that works is better known before the first training
    if on_start is not None:
        on_start(grid)
    failures = []
    for planned in grid.runs:
        if planned.is_finished:
            continue
        outcome = _do(planned, progress, on_round, command)
        if outcome.failure is None:
            tables.write()
        else:
            failures.append(outcome)
        if on_run is not None:
            on_run(outcome)
    return BenchmarkResult(grid, tuple(failures), tables)


def _do(
    planned: GridRun,
    progress: Callable[[GridRun, str, int, int], None] | None,
    on_round: Callable[[GridRun, dict[str, Any]], None] | None,
    command: Sequence[str] | None,
) -> Outcome:
    """Do or continue one run; whatever it raises is its own failure, but for an interrupt."""
    try:
        with restored([]):  # no run's code reaches the next one's numbers
            result = run(
                **planned.settings, out=planned.folder, resume=True, command=command,
                progress=None if progress is None else functools.partial(progress, planned),
                on_round=None if on_round is None else lambda _, record: on_round(planned, record),
            )  # fmt: skip
    except (Exception, SystemExit) as error:  # a plugin's code may do anything
        logger.debug("%s failed", planned, exc_info=True)
        text = " ".join(str(error).split())
        return Outcome(planned, failure=text if isinstance(error, DeepALError) else f"{type(error).__name__}: {text}")
    return Outcome(planned, result)
