"""Run the study of AutoAL: every setting with every contender over paired seeds.

    python benchmarks/autoal/study.py --data study-data --out study --jobs 2

Each finished run is a line of OUT/runs.jsonl, written immediately. Repeating the command continues the study, and
repeats failed runs and runs whose settings or options have changed since. Runs go seed by seed, so they can be compared
even if time runs out. Each run has one thread, as its numbers depend on that. README.md explains the groups.
"""

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import filelock
from plan import GROUPS, SETTINGS, Contender, Setting, contenders, key_of

from deepal_autoal.measuring.resources import format_seconds

RUNS = "runs.jsonl"


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        setting: Its setting.
        contender: Its strategy.
        seed: The seed of everything random.
        key: See `plan.key_of`.
        path: Path of the dataset, or its registered name.
        data_dir: Folder of named datasets.
        device: ``cpu``, ``cuda`` or ``auto``.
    """

    setting: Setting
    contender: Contender
    seed: int
    key: str
    path: str
    data_dir: str
    device: str

    @property
    def name(self) -> tuple[str, str, int]:
        """What identifies a run's line."""
        return self.setting.name, self.contender.label, self.seed

    def __str__(self) -> str:
        return f"{self.setting.name} {self.contender.label} seed {self.seed}"


def main(arguments: Sequence[str] | None = None) -> int:
    options = read_arguments(arguments)
    jobs = plan_jobs(options)
    options.out.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(options.out / ".lock", timeout=0):
        path = options.out / RUNS
        mend(path)
        earlier = {name_of(row): row for row in read_runs([path])}
        todo = [job for job in jobs if not is_done(job, earlier.get(job.name), options.accept_earlier)]
        print(f"{len(jobs)} runs, {len(jobs) - len(todo)} of them done", file=sys.stderr)
        if options.list:
            for job in todo:
                print(job)
            return 0
        failures = work(todo, path, options.jobs, Progress(todo, options.jobs, earlier.values()))
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("study-data"), help="folder of the embeddings")
    parser.add_argument("--images", type=Path, default=Path("data"), help="folder of MNIST/raw and cifar10")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--settings", default=None, help="names, with commas; by default all that do not need a GPU")
    parser.add_argument("--groups", default=None, help=f"from {', '.join(GROUPS)}; by default each setting's own")
    parser.add_argument("--labels", default=None, help="only these contenders of the groups, separated by spaces")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--dev", action="store_true", help="embeddings to tune on instead of the study's")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    parser.add_argument("--accept-earlier", action="store_true", help="keep runs with other settings or options too")
    parser.add_argument("--list", action="store_true", help="only list the runs that are left to do")
    return parser.parse_args(arguments)


def plan_jobs(options: argparse.Namespace) -> list[Job]:
    """Return all requested runs, seed by seed."""
    usual = [setting.name for setting in SETTINGS.values() if not setting.needs_gpu]
    names = usual if options.settings is None else options.settings.split(",")
    for name in names:
        if name not in SETTINGS:
            sys.exit(f"there is no setting {name!r}; choose from {', '.join(SETTINGS)}")
    settings = [SETTINGS[name] for name in names]
    groups = {s.name: s.groups if options.groups is None else options.groups.split(",") for s in settings}
    chosen = {s.name: contenders(groups[s.name], has_backbone=s.is_images) for s in settings}
    if options.labels is not None:
        wanted = options.labels.split()
        known = list(dict.fromkeys(contender.label for found in chosen.values() for contender in found))
        for label in wanted:
            if label not in known:
                sys.exit(f"there is no contender {label!r} in these groups; choose from {' '.join(known)}")
        chosen = {name: [contender for contender in found if contender.label in wanted]
                  for name, found in chosen.items()}  # fmt: skip
    by_seed: list[list[Job]] = [[] for _ in range(options.seeds)]
    for setting in settings:
        path = path_of(setting, options)
        for contender in chosen[setting.name]:
            key = key_of(setting, contender, Path(path).name, options.device)
            for seed in range(min(options.seeds, setting.max_seeds or options.seeds)):
                by_seed[seed].append(Job(setting, contender, seed, key, path, str(options.images), options.device))
    return [job for jobs in by_seed for job in jobs]


def path_of(setting: Setting, options: argparse.Namespace) -> str:
    """Return the path of a setting's dataset, or its registered name."""
    if setting.is_images:
        folder = options.images / setting.dataset
        return str(folder) if folder.is_dir() else setting.dataset
    parts = [setting.dataset, *["dev"] * options.dev, *["imbalanced"] * setting.is_imbalanced]
    path = options.data / f"{'-'.join(parts)}.npz"
    if not path.is_file():
        sys.exit(f"{path} is missing: create it with benchmarks/autoal/embeddings.py, or name its folder with --data")
    return str(path)


def read_runs(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Yield all lines in the order in which they were written; of two runs of the same name the later one counts."""
    for path in paths:
        if path.exists():
            with open(path, encoding="utf-8") as file:
                yield from (json.loads(line) for line in file if line.endswith("\n"))


def mend(path: Path) -> None:
    """Cut off an incomplete last line that a killed process left."""
    if path.exists():
        content = path.read_bytes()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            os.truncate(path, end)


def name_of(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return row["setting"], row["label"], row["seed"]


def is_done(job: Job, row: Mapping[str, Any] | None, accept_earlier: bool) -> bool:
    return row is not None and "failed" not in row and (accept_earlier or row["key"] == job.key)


def work(todo: Sequence[Job], path: Path, n_jobs: int, progress: "Progress") -> list[str]:
    """Do runs and write their lines; return a message for each failed run."""
    failures = []
    with open(path, "ab", buffering=0) as file:
        for row in do_all(todo, n_jobs):
            file.write(json.dumps(row).encode() + b"\n")  # a single write, so lines are complete
            progress.show(row)
            if "failed" in row:
                failures.append(f"{row['setting']} {row['label']} seed {row['seed']}: {row['failed']}")
    return failures


def do_all(todo: Sequence[Job], n_jobs: int) -> Iterator[dict[str, Any]]:
    """Yield the runs' lines as they finish."""
    if n_jobs == 1:
        yield from map(do, todo)
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # the workers read it when they load torch
    executor = ProcessPoolExecutor(n_jobs, get_context("spawn"), prepare_worker)
    try:
        for future in as_completed([executor.submit(do, job) for job in todo]):
            yield future.result()
    finally:
        executor.shutdown(cancel_futures=True)


def prepare_worker() -> None:
    """End quietly when the user interrupts, and when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def do(job: Job) -> dict[str, Any]:
    """Do one run and return its line; if it fails, the error is the line's ``failed``."""
    setting, label, seed = job.name
    row: dict[str, Any] = {"setting": setting, "label": label, "seed": seed, "key": job.key}
    started = time.monotonic()
    logger = logging.getLogger("deepal_autoal")
    level = logger.level
    logger.setLevel(logging.ERROR)  # small initial sets that lack classes are part of the setting
    try:
        row |= measure(job)
    except (Exception, SystemExit) as error:  # a strategy's code may do anything
        row["failed"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
    finally:
        logger.setLevel(level)
    return {**row, "wall_s": round(time.monotonic() - started, 2)}


def measure(job: Job) -> dict[str, Any]:
    """Return the outcome in a run's line."""
    from hindsight import Hindsight

    from deepal_autoal import load_dataset, run

    setting, contender = job.setting, job.contender
    data = load_dataset(job.path, job.data_dir)
    if contender.is_oracle:
        strategy = Hindsight(data, contender.candidates or (), setting.model, job.seed, contender.options)
    else:
        strategy = contender.create()
    result = run(
        strategy, data, seed=job.seed, model=setting.model, initial=setting.initial, batch_size=setting.batch_size,
        rounds=setting.rounds, pool_size=setting.pool_size, recipe=setting.recipe, threads=1, device=job.device,
    )  # fmt: skip
    rounds = result.rounds
    reports = [record["strategy"] for record in rounds[:-1]]
    row: dict[str, Any] = {
        "aubc": result.aubc,
        "accuracy": [record["accuracy"] for record in rounds],
        "n_labeled": [record["n_labeled"] for record in rounds],
        "seconds": {
            phase: round(sum(record["seconds"].get(phase, 0.0) for record in rounds), 3)
            for phase in dict.fromkeys(phase for record in rounds for phase in record["seconds"])
        },
    }
    # One entry for each round that queried.
    if all("weights" in report for report in reports):
        row["weights"] = [{name: round(w, 5) for name, w in report["weights"].items()} for report in reports]
    if all("chosen" in report for report in reports):
        row["chosen"] = [report["chosen"] for report in reports]
    return row


class Progress:
    """Reports on standard error which run finished, and about how long the rest takes."""

    def __init__(self, todo: Sequence[Job], n_jobs: int, earlier: Iterable[Mapping[str, Any]]) -> None:
        self._left = {job.name for job in todo}
        self._total = len(todo)
        self._n_jobs = n_jobs
        self._seconds: dict[tuple[str, str], list[float]] = {}
        for row in earlier:
            self._count(row)

    def show(self, row: Mapping[str, Any]) -> None:
        self._left.discard(name_of(row))
        self._count(row)
        outcome = f"FAILED, {row['failed']}" if "failed" in row else f"{row['aubc']:.4f}"
        done = self._total - len(self._left)
        print(
            f"[{done}/{self._total}] {row['setting']} {row['label']} seed {row['seed']}: {outcome} "
            f"({row['wall_s']:.1f} s), about {format_seconds(self.remaining())} left", file=sys.stderr, flush=True,
        )  # fmt: skip

    def remaining(self) -> float:
        """Return the seconds left, estimated by the same contender's other seeds, or else by the setting's mean."""
        by_setting: dict[str, list[float]] = {}
        for (setting, _), seconds in self._seconds.items():
            by_setting.setdefault(setting, []).extend(seconds)
        overall = [value for seconds in self._seconds.values() for value in seconds]
        known = (
            self._seconds.get((setting, label)) or by_setting.get(setting) or overall or [0.0]
            for setting, label, _ in self._left
        )
        return sum(sum(seconds) / len(seconds) for seconds in known) / self._n_jobs

    def _count(self, row: Mapping[str, Any]) -> None:
        if "failed" not in row:
            self._seconds.setdefault((row["setting"], row["label"]), []).append(row["wall_s"])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        sys.exit(130)
    except BrokenExecutor:
        sys.exit("a worker died, perhaps out of memory; the same command continues")
    except filelock.Timeout:
        sys.exit("another study writes to this folder; wait for it or choose another --out")
