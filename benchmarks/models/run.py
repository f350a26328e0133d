"""Compare task models with what a newcomer would write: every data set, number of labels, model and seed.

    python benchmarks/models/run.py --jobs 2                # the published table
    python benchmarks/models/run.py --part dev --out dev.csv --datasets wine,cancer --models auto "mlp[width=64]"

Rows are added to --out after each model at each number of labels, and at the end tables are written next to it (see
tables.py). Repeating the command continues. It does not notice changed code: give another --out, or --again. README.md
explains what is measured.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import filelock
from bar import cases_of, mean_accuracy
from baselines import BASELINES
from data import IMAGES, NAMES, PARTS, load
from measure import Model, measure
from rows import Row, append_rows, mend, read_rows
from tables import OURS as BARRED
from tables import render

SIZES = (1, 3, 10, 30, 100)
OURS = ("auto", "linear", "mlp", "cnn")
RESULTS = {"test": Path(__file__).resolve().parent.parent / "results" / "models.csv", "dev": Path("models-dev.csv")}


@dataclass(frozen=True)
class Group:
    """A model at one number of labels.

    Attributes:
        part, dataset, per_class, model: Which group it is.
        seeds: Seeds to train with.
        data_dir, embeddings_dir: Folders of the data (see `data.load`).
    """

    part: str
    dataset: str
    per_class: int
    model: Model
    seeds: tuple[int, ...]
    data_dir: Path
    embeddings_dir: Path

    def __str__(self) -> str:
        return f"{self.dataset} {self.per_class} {self.model.label}"


def main(arguments: Sequence[str] | None = None) -> int:
    options = read_arguments(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{options.out}.lock", timeout=0):
        mend(options.out)
        done = set() if options.again else {row.key for row in read_rows(options.out)}
        groups = plan(options, done)
        print(f"{sum(len(group.seeds) for group in groups)} trainings to do", file=sys.stderr)
        progress = Progress(groups, options.jobs)
        failures = []
        for group, rows, failure, wall in do_all(groups, options.jobs):
            append_rows(options.out, rows)
            progress.show(group, rows, failure, wall)
            if failure:
                failures.append(f"{group}: {failure}")
        cases = cases_of(read_rows(options.out), options.part)
        if cases:
            options.out.with_suffix(".md").write_text(render(cases, BARRED), encoding="utf-8")
    Path(f"{options.out}.lock").unlink(missing_ok=True)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="the CSV file to append to; by default benchmarks/results/models.csv, "
                        "or ./models-dev.csv for the part dev")  # fmt: skip
    parser.add_argument("--part", choices=PARTS, default="test", help="dev: to tune on; test: for the table")
    parser.add_argument("--datasets", type=names, default=NAMES, help=f"with commas, from {','.join(NAMES)}")
    parser.add_argument("--models", nargs="+", default=[*BASELINES, *OURS], metavar="MODEL",
                        help=f"task models, or {', '.join(BASELINES)}; baselines: all of the latter")  # fmt: skip
    parser.add_argument("--set", action="append", default=[], type=setting, metavar="NAME=VALUE", dest="options",
                        help="for task models: an argument of ActiveLearner, or recipe.NAME; becomes part of their "
                             "label")  # fmt: skip
    parser.add_argument("--sizes", type=numbers, default=SIZES, help="labels a class, with commas")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of MNIST/raw and cifar10")
    parser.add_argument("--embeddings", type=Path, default=Path("study-data"), help="folder of mnist.npz and others")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--again", action="store_true", help="repeat measurements that are already in --out")
    found = parser.parse_args(arguments)
    for name in found.datasets:
        if name not in NAMES:
            parser.error(f"there is no data set {name!r}; choose from {', '.join(NAMES)}")
    found.out = found.out or RESULTS[found.part]
    found.models = [name for given in found.models for name in (BASELINES if given == "baselines" else [given])]
    return found


def names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def setting(text: str) -> tuple[str, Any]:
    """Return name and value of ``NAME=VALUE``; a value that is not JSON is a string."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE; write it as recipe.epochs=5")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def plan(options: argparse.Namespace, done: set[tuple[str, str, int, str, int]]) -> list[Group]:
    """Return the groups left to do, ordered by data set so each is loaded only once."""
    groups = []
    for dataset in options.datasets:
        for per_class in options.sizes:
            for name in options.models:
                model = Model(name) if name in BASELINES else Model(name, dict(options.options))
                if not model.fits_data(dataset in IMAGES):
                    continue
                key = (options.part, dataset, per_class, model.label)
                seeds = tuple(seed for seed in range(options.seeds) if (*key, seed) not in done)
                if seeds:
                    groups.append(
                        Group(options.part, dataset, per_class, model, seeds, options.data, options.embeddings)
                    )  # fmt: skip
    return groups


Done = tuple[Group, list[Row], str | None, float]


def do_all(groups: Sequence[Group], n_jobs: int) -> Iterator[Done]:
    """Yield groups as they finish."""
    if n_jobs == 1:
        yield from map(do, groups)
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # the workers read it when they load torch
    executor = ProcessPoolExecutor(n_jobs, get_context("spawn"))
    try:
        for future in as_completed([executor.submit(do, group) for group in groups]):
            yield future.result()
    finally:
        executor.shutdown(cancel_futures=True)


_warm: set[tuple[str, str]] = set()


def do(group: Group) -> Done:
    """Return the group, its rows, the error if there was one, and the seconds taken."""
    started = time.monotonic()
    rows: list[Row] = []
    failure = None
    try:
        problem = load(group.dataset, group.part, group.data_dir, group.embeddings_dir)
        if (group.dataset, group.model.label) not in _warm:
            # The first training of each kind in a process includes loading and compiling.
            measure(problem, group.model, 1, group.seeds[0])
            _warm.add((group.dataset, group.model.label))
        for seed in group.seeds:
            found = measure(problem, group.model, group.per_class, seed)
            rows.append(
                Row(group.part, group.dataset, group.per_class, group.model.label, seed, found.accuracy, found.nll,
                    found.seconds)
            )  # fmt: skip
    except Exception as error:  # a model that fails must not stop the others
        failure = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return group, rows, failure, time.monotonic() - started


class Progress:
    """Reports on standard error which group finished, and about how long the rest takes."""

    def __init__(self, groups: Iterable[Group], n_jobs: int) -> None:
        self._left = {str(group): group for group in groups}
        self._total = len(self._left)
        self._n_jobs = n_jobs
        self._seconds: dict[tuple[str, str], list[float]] = {}

    def show(self, group: Group, rows: Sequence[Row], failure: str | None, wall: float) -> None:
        """Report that a group finished."""
        del self._left[str(group)]
        self._seconds.setdefault((group.dataset, group.model.label), []).append(wall / len(group.seeds))
        outcome = f"FAILED, {failure}" if failure else f"accuracy {mean_accuracy(rows):.4f}"
        print(
            f"[{self._total - len(self._left)}/{self._total}] {group}: {outcome} ({wall:.1f} s), "
            f"about {self.remaining() / 60:.0f} min left", file=sys.stderr, flush=True,
        )  # fmt: skip

    def remaining(self) -> float:
        """Return the seconds left, estimated by the model's trainings on the data set, or else on others."""
        by_model: dict[str, list[float]] = {}
        for (_, label), seconds in self._seconds.items():
            by_model.setdefault(label, []).extend(seconds)
        overall = [value for seconds in self._seconds.values() for value in seconds] or [0.0]
        total = 0.0
        for group in self._left.values():
            label = group.model.label
            known = self._seconds.get((group.dataset, label)) or by_model.get(label) or overall
            total += len(group.seeds) * sum(known) / len(known)
        return total / self._n_jobs


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        sys.exit(130)
    except BrokenExecutor:
        sys.exit("a worker died, perhaps out of memory; the same command continues")
    except filelock.Timeout:
        sys.exit("another benchmark writes to this file; wait for it or choose another --out")
