"""`run_benchmark`: execute a grid's runs, each in a run folder, and keep the tables up to date."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from deepal_autoal.benchmark.backends.interface import Backend, Executor, Workload
from deepal_autoal.benchmark.backends.job import Job, forward_log
from deepal_autoal.benchmark.backends.local import Local
from deepal_autoal.benchmark.backends.names import checked_device, checked_executor, checked_threads, create_backend
from deepal_autoal.benchmark.backends.objects import pack, why_not_sent
from deepal_autoal.benchmark.cost.estimates import Estimates
from deepal_autoal.benchmark.given_datasets import FOLDER, has_objects, keep_datasets
from deepal_autoal.benchmark.grid import Grid, GridRun, plan_grid
from deepal_autoal.benchmark.schedule import Schedule, remove_shared
from deepal_autoal.benchmark.tables import Tables
from deepal_autoal.errors import InputError, PluginError
from deepal_autoal.experiment.records import SUMMARY
from deepal_autoal.experiment.run_files import read_summary
from deepal_autoal.files import TEMPORARY_SUFFIX, lock_folder, remove_leftovers
from deepal_autoal.isolation.blame import blaming
from deepal_autoal.run_settings import whole_number
from deepal_autoal.strategies.given import StrategyLike
from deepal_autoal.user_paths import user_path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Attributes:
        run: The run.
        summary: The content of its ``summary.json``, if it finished.
        failure: Why it did not finish, in one line.
    """

    run: GridRun
    summary: Mapping[str, Any] | None = None
    failure: str | None = None


@dataclass(frozen=True)
class BenchmarkResult:
    """The result of a benchmark.

    Attributes:
        grid: The requested runs, and what was left out of ``all``.
        failures: The runs that failed in this call.
        tables: All finished runs in the folder and their summary, including earlier ones.
    """

    grid: Grid
    failures: tuple[Outcome, ...]
    tables: Tables

    def __repr__(self) -> str:
        return f"BenchmarkResult(runs={len(self.grid.runs)}, failed={len(self.failures)}, out={str(self.grid.out)!r})"


def run_benchmark(
    strategies: StrategyLike | Sequence[StrategyLike] | Mapping[str, StrategyLike],
    datasets: str | Path | Sequence[str | Path] | Mapping[str, Any] | None,
    seeds: int | str | Sequence[int],
    out: str | Path,
    *,
    candidates: Iterable[Any] | None = None,
    models: str | Sequence[str] | None = None,
    protocols: str | Sequence[str] | None = None,
    oracle: str | Sequence[str] | None = None,
    jobs: int | None = None,
    dry_run: bool = False,
    backend: str = "local",
    address: str | None = None,
    cpus_per_run: float | None = None,
    gpus_per_run: float | None = None,
    on_start: Callable[[Grid], None] | None = None,
    on_probe: Callable[[int, int], None] | None = None,
    on_estimate: Callable[[Estimates], None] | None = None,
    progress: Callable[[GridRun, str, int, int], None] | bool | None = None,
    on_round: Callable[[GridRun, dict[str, Any]], None] | None = None,
    on_run: Callable[[Outcome], None] | None = None,
    command: Sequence[str] | None = None,
    **settings: Any,
) -> BenchmarkResult:
    """Compare strategies over datasets and seeds.

    Each run is a run folder ``out/<dataset>/<label>/seed-<s>``. Finished runs are left as they are and incomplete
    runs are continued: repeating a call continues it, and further strategies, datasets or seeds add to it. With more
    ``rounds``, finished runs are extended, all runs on a dataset together. After every run the tables are rewritten
    from all finished runs in the folder.

    Runs of one seed begin with the same labeled set and, unless their strategy changes training, with the same
    model, which is trained once for all of them.

    Args:
        strategies: For example ``"random,vote5=vote[power=5],all"``, a sequence of its parts, or a mapping from
            labels to them. Strategies, classes and functions of the context may stand for names (see `run`); each run
            gets a copy. With several ``jobs``, other processes import them; what is defined in a script or notebook
            itself keeps all runs in this process, and a warning says so.
        datasets: Registered names or paths, in a sequence or separated by commas; None for the protocols' own. Or a
            mapping from labels to these and to data as `run` takes them, which are then kept in ``out/.data``.
        seeds: A number of seeds, counted from 0, or a list of seeds.
        out: The benchmark's folder.
        candidates: Candidates of all selectors that are given none of their own, in the form that `run` takes.
        models: Models to compare on, likewise; folders and rows are then labeled ``<dataset>-<model>``.
        protocols: Protocols to compare on, likewise (see `read_tasks`).
        oracle: Oracles to run beside the strategies, such as ``"best,boss[batches=30]"`` (see ``docs/benchmark.md``).
            Without a ``pool_size``, all runs then have a pool that leaves out what the oracles score batches on.
        jobs: How many runs are executed at a time, each in its own process if there are several; by default 1, on
            Ray as many as fit on the nodes. Unless ``threads`` is given they share the cores, and the resulting
            thread count remains the setting of the study.
        backend: Where runs are executed, ``NAME`` or ``NAME[key=value,...]``: ``local``, ``ray`` for the nodes of a
            Ray cluster, or another that a plugin registered (see ``docs/benchmark.md``).
        address: Of a backend's cluster; for Ray ``host:port`` or ``auto``, and None starts a cluster for this call.
        cpus_per_run: CPUs that the backend reserves for a run; on Ray by default as many as it has threads.
        gpus_per_run: Likewise; with a fraction, several runs share a GPU.
        dry_run: Only plan, check and estimate: nothing is written, and the result holds the existing runs.
        on_start: Called with the grid once everything is checked.
        on_probe: Called as ``on_probe(done, total)`` during the estimate.
        on_estimate: Called before the first run with what the runs will cost. The short probe behind it runs only
            if this or ``dry_run`` is given: on every strategy in a dry run, otherwise on as many as cost a small
            part of the total time.
        progress: Called as ``progress(run, phase, done, total)``; True and False, as in `run`, are taken for nothing.
        on_round: Called after each round with its record.
        on_run: Called after each run that finished or failed, once the tables include it; by default, a run that
            failed is a warning of the log.
        command: The command line, for the runs' records.
        settings: What all runs share, by the names of `run`'s arguments.

    Returns:
        The failures, which do not stop other runs, and the tables.

    Raises:
        InputError: If a request cannot be met, as far as can be checked without training: unknown names, options,
            budgets, or a model that lacks what a strategy requires.
        RunFolderError: If ``out`` cannot be written, or earlier runs of a dataset had other settings.
        PluginError: If the plugin of a named strategy, or of the backend, is broken.
    """
    if isinstance(progress, bool):
        progress = None  # as in `run`; there is no bar here
    calls = {"on_start": on_start, "on_probe": on_probe, "on_estimate": on_estimate, "progress": progress,
             "on_round": on_round, "on_run": on_run}  # fmt: skip
    for name, call in calls.items():
        if call is not None and not callable(call):
            raise InputError(f"{name} is {call!r}; give a function, or leave it out")
    if jobs is not None:
        jobs = whole_number("jobs", jobs)
        if jobs < 1:
            raise InputError(f"--jobs {jobs}: give at least 1")
    chosen = create_backend(backend, address=address, cpus_per_run=cpus_per_run, gpus_per_run=gpus_per_run)
    with blaming(chosen, "device or threads", own_errors=True):
        device, threads = chosen.device(settings.get("device")), chosen.threads(jobs or 1)
    settings["device"], default_threads = checked_device(chosen, device), checked_threads(chosen, threads)
    folder = user_path(out, "--out")
    if has_objects(datasets):
        scratch = tempfile.TemporaryDirectory() if dry_run else None  # which goes with this call
        place = folder / FOLDER if scratch is None else Path(scratch.name)
        datasets = keep_datasets(
            cast("Mapping[str, Any]", datasets), place, settings.pop("target", None), settings.get("text_model")
        )
    grid = plan_grid(
        strategies, cast("Any", datasets), seeds, folder, candidates, settings, models=models, protocols=protocols,
        oracle=oracle, default_threads=default_threads, is_remote=chosen.is_remote,
    )  # fmt: skip
    is_bound_here = _is_bound_here(grid, chosen, jobs or 1)
    tables = Tables(folder)
    with nullcontext() if dry_run else _locked(folder):
        if not dry_run:
            tables.write()  # fail before the first training if this is not possible
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
        on_run = on_run or _log_failure
        dispatcher = _Dispatcher(chosen, tables, estimates, Schedule(unfinished), progress, on_round, on_run)
        if unfinished:
            common = unfinished[0].settings
            workload = Workload(folder, len(unfinished), jobs, common["threads"], common["device"], is_bound_here)
            with blaming(chosen, "open", own_errors=True):
                opened = chosen.open(workload)
            executor = checked_executor(chosen, opened)
            dispatcher.is_bound_here = is_bound_here
            try:
                dispatcher.run_all(executor, tuple(command) if command is not None else None)
            finally:
                executor.close()
                remove_shared(grid.runs)
    return BenchmarkResult(grid, tuple(dispatcher.failures), tables)


def _log_failure(outcome: Outcome) -> None:
    """Warn of a run that failed; a caller with ``on_run`` is told all."""
    if outcome.failure is not None:
        run = outcome.run
        logger.warning("run of %s on %s, seed %s, failed: %s", run.strategy, run.dataset, run.seed, outcome.failure)


def _is_bound_here(grid: Grid, backend: Backend, jobs: int) -> bool:
    """Return whether all runs must be executed in this process, for an object that no other process can have.

    Raises:
        InputError: If the backend has no objects of this process.
    """
    of_python = {run.strategy: run for run in grid.runs if run.is_of_python}
    if of_python and not isinstance(backend, Local):
        raise InputError(
            f"{', '.join(of_python)}: a strategy or candidate given as an object exists in this process only; leave "
            "out backend, register it in a plugin and give its name, or write file.py:Name"
        )
    if not of_python or jobs == 1:
        return bool(of_python)
    reason = next(filter(None, (why_not_sent(run.settings) for run in of_python.values())), "")
    if reason:
        logger.warning("all runs are executed in this process, one at a time, as %s", reason)
    return bool(reason)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Create the benchmark's folder, keep other benchmarks out of it, and remove half-written files of a killed one."""
    in_use = f"another benchmark is running in {folder}; wait for it or choose another --out"
    lock = lock_folder(folder, in_use, "choose another --out")
    try:
        remove_leftovers(folder.glob(f".*{TEMPORARY_SUFFIX}"))
        yield
    finally:
        lock.release()


class _Dispatcher:
    """Hands runs to a backend's executor and handles its messages."""

    def __init__(
        self,
        backend: Backend,
        tables: Tables,
        estimates: Estimates,
        schedule: Schedule,
        progress: Callable[[GridRun, str, int, int], None] | None,
        on_round: Callable[[GridRun, dict[str, Any]], None] | None,
        on_run: Callable[[Outcome], None] | None,
    ) -> None:
        self.failures: list[Outcome] = []
        self.is_bound_here = False
        self._backend = backend
        self._tables = tables
        self._estimates = estimates
        self._schedule = schedule
        self._progress = progress
        self._on_round = on_round
        self._on_run = on_run
        self._running: dict[str, GridRun] = {}

    def run_all(self, executor: Executor, command: tuple[str, ...] | None) -> None:
        """Return once no run is left."""
        while True:
            while len(self._running) < executor.n_slots and (planned := self._schedule.take()) is not None:
                shared = self._schedule.initial_model(planned)
                job = Job(
                    str(planned),
                    str(planned.folder),
                    planned.settings if self.is_bound_here else pack(planned.settings),
                    None if shared is None else str(shared),
                    command,
                    logging.getLogger("deepal_autoal").getEffectiveLevel(),
                )
                self._running[job.folder] = planned
                executor.start(job)
            if not self._running:
                if (left := self._schedule.take()) is not None:
                    raise PluginError(
                        f"{self._backend} has no slots (n_slots is {executor.n_slots}), but {left} is left"
                    )
                return
            executor.wait(self._on_message)

    def _on_message(self, job: Job, message: Mapping[str, Any]) -> None:
        planned = self._running.get(job.folder)
        if planned is None or "kind" not in message:
            raise PluginError(
                f"{self._backend} sent a message that belongs to no running job, or has no kind: {message!r} of {job!r}"
            )
        match message["kind"]:
            case "phase":
                if self._progress is not None:
                    self._progress(planned, message["phase"], message["done"], message["total"])
            case "round":
                self._schedule.note_round(planned)
                if self._on_round is not None:
                    self._on_round(planned, message["record"])
            case "log":
                forward_log(message)
            case "end":
                self._end(planned, message["failure"])

    def _end(self, planned: GridRun, failure: str | None) -> None:
        del self._running[str(planned.folder)]
        self._schedule.note_end(planned)
        if failure is None and not (planned.folder / SUMMARY).exists():
            failure = f"{self._backend} reported its end, but it is not finished"
        if failure is None:
            outcome = Outcome(planned, read_summary(planned.folder))
            self._tables.forget(planned.folder)
            self._tables.write()
            self._estimates.note(self._tables.run(planned.folder))
        else:
            outcome = Outcome(planned, failure=failure)
            self.failures.append(outcome)
        if self._on_run is not None:
            self._on_run(outcome)
