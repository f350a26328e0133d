"""`run_benchmark`: does a grid's runs, each in a run folder, and keeps the tables up to date."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from deepal_autoal.benchmark.backends import Backend, InThisProcess
from deepal_autoal.benchmark.estimates import Estimates
from deepal_autoal.benchmark.grid import Grid, GridRun, plan_grid
from deepal_autoal.benchmark.job import Job
from deepal_autoal.benchmark.ray_options import RayOptions, read_backend
from deepal_autoal.benchmark.schedule import Schedule, remove_shared
from deepal_autoal.benchmark.tables import Tables
from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.files import TEMPORARY_SUFFIX, read_json
from deepal_autoal.records import LOCK, SUMMARY

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        run: The run.
        summary: What its ``summary.json`` holds, if it finished.
        failure: Why it did not, in a line.
    """

    run: GridRun
    summary: Mapping[str, Any] | None = None
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
    datasets: str | Sequence[str | Path] | None,
    seeds: int | str | Sequence[int],
    out: str | Path,
    *,
    candidates: Sequence[str] | None = None,
    models: str | Sequence[str] | None = None,
    protocols: str | Sequence[str] | None = None,
    jobs: int | None = None,
    dry_run: bool = False,
    backend: str = "local",
    address: str | None = None,
    cpus_per_run: float | None = None,
    gpus_per_run: float | None = None,
    on_start: Callable[[Grid], None] | None = None,
    on_probe: Callable[[int, int], None] | None = None,
    on_estimate: Callable[[Estimates], None] | None = None,
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

    Runs of one seed begin with the same labelled set and, unless their strategy changes training, with the same
    model, which is trained once for all of them.

    Args:
        strategies: Such as ``"random,vote5=vote[oversample=5],all"``, or a sequence of its parts (see
            `read_strategies`).
        datasets: Registered names or paths, in a sequence or separated by commas; None for the protocols' own.
        seeds: How many, from 0 on, or which.
        out: The benchmark's folder.
        candidates: Candidates of all selectors among the strategies that have none of their own, as `run` takes them.
        models: Models to compare on, likewise; folders and rows are then labelled ``<dataset>-<model>``.
        protocols: Protocols to compare on, likewise (see `read_tasks`).
        jobs: How many runs go on at a time, each in a process of its own if there are several; 1 by default, on Ray
            as many as the nodes take. Unless ``threads`` is given they share the cores, and that remains the setting
            of the study.
        backend: ``local``, or ``ray`` for the nodes of a Ray cluster (see ``docs/benchmark.md``).
        address: The cluster's, ``host:port`` or ``auto``; None for one of this call's own.
        cpus_per_run: CPUs that Ray books for a run; by default as many as it has threads.
        gpus_per_run: Likewise; a share lets several runs have a GPU together.
        dry_run: Only plan, check and estimate: nothing is written, and the result holds what lies there already.
        on_start: Called with the grid once everything is checked.
        on_probe: Called as ``on_probe(done, total)`` while the estimate is made.
        on_estimate: Called with what the runs will cost, before the first one. Only if this is given, or
            ``dry_run``, a short probe finds out: of every strategy in a dry run, else of as many as take little of
            the time to come.
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
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs {jobs}: give at least 1")
    cluster = read_backend(backend, address, cpus_per_run, gpus_per_run)
    if cluster is not None:
        cluster, settings["device"] = cluster.for_device(settings.get("device"))
    folder = Path(out)
    grid = plan_grid(
        strategies, datasets, seeds, folder, candidates, settings, models=models, protocols=protocols,
        n_jobs=jobs or 1, elsewhere=cluster,
    )  # fmt: skip
    tables = Tables(folder)
    with nullcontext() if dry_run else _alone_in(folder):
        if not dry_run:
            tables.write()  # whether that works is better known before the first training
        if on_start is not None:
            on_start(grid)
        estimates = Estimates(grid, tables.runs)
        if dry_run or on_estimate is not None:
            estimates.probe(on_probe or (lambda done, total: None), is_asked_for=dry_run)
        if on_estimate is not None:
            on_estimate(estimates)
        if dry_run:
            return BenchmarkResult(grid, (), tables)
        unfinished = [run for run in grid.runs if not run.is_finished]
        remove_shared(grid.runs)
        place = _backend(cluster, jobs, unfinished, folder)
        watch = _Watch(tables, estimates, Schedule(unfinished), progress, on_round, on_run)
        try:
            watch.do_all(place, tuple(command) if command is not None else None)
        finally:
            place.close()
            remove_shared(grid.runs)
    return BenchmarkResult(grid, tuple(watch.failures), tables)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Make the benchmark's folder, keep other benchmarks out of it, and remove what a kill has left half-written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK)
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise RunFolderError(f"another benchmark is at work in {folder}; wait for it or choose another --out") from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunFolderError(f"cannot write to {folder}: {reason}; choose another --out") from error
    try:
        for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
            path.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def _backend(cluster: RayOptions | None, jobs: int | None, runs: Sequence[GridRun], out: Path) -> Backend:
    """Return what does these runs."""
    if cluster is not None and runs:
        from deepal_autoal.benchmark.ray_cluster import RayCluster

        return RayCluster(cluster, runs[0].settings["threads"], jobs, out)
    n_jobs = min(jobs or 1, len(runs))
    if n_jobs <= 1:
        return InThisProcess()
    from deepal_autoal.benchmark.processes import Processes
    from deepal_autoal.devices import visible_gpus

    settings = runs[0].settings
    return Processes(n_jobs, settings.get("threads"), visible_gpus(settings.get("device") or "auto"))


class _Watch:
    """Gives runs to a backend, and takes in what becomes of them."""

    def __init__(
        self,
        tables: Tables,
        estimates: Estimates,
        schedule: Schedule,
        progress: Callable[[GridRun, str, int, int], None] | None,
        on_round: Callable[[GridRun, dict[str, Any]], None] | None,
        on_run: Callable[[Outcome], None] | None,
    ) -> None:
        self.failures: list[Outcome] = []
        self._tables = tables
        self._estimates = estimates
        self._schedule = schedule
        self._progress = progress
        self._on_round = on_round
        self._on_run = on_run
        self._under_way: dict[str, GridRun] = {}

    def do_all(self, backend: Backend, command: tuple[str, ...] | None) -> None:
        """Return once no run is left."""
        while True:
            while len(self._under_way) < backend.n_slots and (planned := self._schedule.take()) is not None:
                shared = self._schedule.initial_model(planned)
                job = Job(
                    str(planned),
                    str(planned.folder),
                    planned.settings,
                    None if shared is None else str(shared),
                    command,
                )
                self._under_way[job.folder] = planned
                backend.start(job)
            if not self._under_way:
                return
            backend.wait(self._take_in)

    def _take_in(self, job: Job, message: Mapping[str, Any]) -> None:
        planned = self._under_way[job.folder]
        match message["kind"]:
            case "phase":
                if self._progress is not None:
                    self._progress(planned, message["phase"], message["done"], message["total"])
            case "round":
                self._schedule.note_round(planned)
                if self._on_round is not None:
                    self._on_round(planned, message["record"])
            case "log":
                told = logging.getLogger(message["name"])
                if told.isEnabledFor(message["level"]):
                    told.log(message["level"], "%s", message["text"])
            case "end":
                self._end(planned, message["failure"])

    def _end(self, planned: GridRun, failure: str | None) -> None:
        del self._under_way[str(planned.folder)]
        self._schedule.note_end(planned)
        if failure is None:
            outcome = Outcome(planned, read_json(planned.folder / SUMMARY))
            self._tables.write()
            self._estimates.note(self._tables.run(planned.folder))
        else:
            outcome = Outcome(planned, failure=failure)
            self.failures.append(outcome)
        if self._on_run is not None:
            self._on_run(outcome)
