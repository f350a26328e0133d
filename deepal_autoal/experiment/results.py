"""Finished runs as data, read from run folders or from results.csv: the basis of every table and statistic."""

from __future__ import annotations

import csv
import functools
import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.experiment.paired_settings import PAIRED_BY, read_settings, settings_that_differ
from deepal_autoal.experiment.run_files import (
    CONFIG,
    SUMMARY,
    area_under_budget_curve,
    read_config,
    read_finished,
    total_seconds,
)
from deepal_autoal.experiment.scores import PLAIN, WORST_GROUP
from deepal_autoal.files import refuse_special
from deepal_autoal.user_paths import user_path

if TYPE_CHECKING:
    import pandas

RESULTS = "results.csv"
RESULT_COLUMNS = ("dataset", "strategy", "seed", "round", "n_labeled", "accuracy", "train_s", "query_s")
# With the one that is there if any run recorded it; its cells are empty for the others.
ALL_RESULT_COLUMNS = (*RESULT_COLUMNS, PLAIN)

RunKey = tuple[str, str, int]
"""Dataset, strategy and seed."""

_SEED_FOLDER = re.compile(r"seed-(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class FinishedRun:
    """A complete run; per-round attributes hold one entry per round, round 0 first.

    Attributes:
        dataset: The dataset's label.
        strategy: The strategy's label.
        seed: The seed.
        n_labeled: Labeled samples at each round, ascending.
        accuracy: Test accuracy at each round, in [0, 1].
        seconds: By phase at each round; ``query.search`` is part of ``query``. Only ``train`` and ``query`` if read
            from results.csv.
        changes_training: Whether the strategy changes training and not only selection; None if unknown, as in
            results.csv.
        worst_group: Test accuracy of the worst group after the last round, in [0, 1]; None if the data have no groups,
            or if read from results.csv.
        plain_accuracy: Test accuracy of a plain model on the labels of each round, in [0, 1]; None if it was not
            recorded.
        folder: The run folder, or None if the run was read from results.csv.

    Raises:
        InputError: If the rounds do not fit together, a number is not finite, an accuracy is not in [0, 1] or a time
            is below 0.
    """

    dataset: str
    strategy: str
    seed: int
    n_labeled: tuple[int, ...]
    accuracy: tuple[float, ...]
    seconds: tuple[Mapping[str, float], ...]
    changes_training: bool | None = None
    folder: Path | None = None
    worst_group: float | None = None
    plain_accuracy: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not len(self.n_labeled) == len(self.accuracy) == len(self.seconds) > 0:
            raise InputError(f"{self} needs label counts, accuracies and seconds for the same rounds, at least one")
        if self.plain_accuracy is not None and len(self.plain_accuracy) != len(self.accuracy):
            raise InputError(f"{self} needs a plain model's accuracy for all rounds, or for none")
        if any(after <= before for before, after in itertools.pairwise(self.n_labeled)):
            raise InputError(f"{self} has label counts that do not ascend: {list(self.n_labeled)}")
        groups = [] if self.worst_group is None else [self.worst_group]
        accuracies = [*self.accuracy, *(self.plain_accuracy or ())]
        numbers = [*accuracies, *groups, *(value for phases in self.seconds for value in phases.values())]
        if not all(math.isfinite(number) for number in numbers):
            raise InputError(f"{self} has an accuracy or seconds that are not finite")
        odd = next((value for value in accuracies if not 0 <= value <= 1), None)
        if odd is not None:
            hint = f"; {odd:g} looks like a percentage" if 1 < odd <= 100 else ""
            raise InputError(f"{self} has an accuracy of {odd:g}: accuracies are in [0, 1]{hint}")
        if any(value < 0 for phases in self.seconds for value in phases.values()):
            raise InputError(f"{self} has seconds below 0")

    def __str__(self) -> str:
        return f"{self.strategy} on {self.dataset}, seed {self.seed}"

    @functools.cached_property
    def aubc(self) -> float:
        """Area under the budget curve, in [0, 1]."""
        return area_under_budget_curve(self.n_labeled, self.accuracy)

    @functools.cached_property
    def plain_aubc(self) -> float | None:
        """Area under the budget curve of the plain models, in [0, 1]; None if they were not recorded."""
        return None if self.plain_accuracy is None else area_under_budget_curve(self.n_labeled, self.plain_accuracy)

    @property
    def final_accuracy(self) -> float:
        """Test accuracy after the last round, in [0, 1]."""
        return self.accuracy[-1]

    @functools.cached_property
    def total_seconds(self) -> float:
        """Seconds of all recorded phases of all rounds."""
        return total_seconds([{"seconds": phases} for phases in self.seconds])

    def phase_seconds(self, phase: str) -> float | None:
        """Return a phase's seconds over all rounds, or None if it is not recorded."""
        if not any(phase in phases for phases in self.seconds):
            return None
        return float(sum(phases.get(phase, 0.0) for phases in self.seconds))


@dataclass(frozen=True)
class Results:
    """Finished runs, sorted by dataset, strategy and seed.

    Attributes:
        runs: The runs, in any order.

    Raises:
        InputError: If two of them have dataset, strategy and seed in common.
    """

    runs: tuple[FinishedRun, ...]

    def __post_init__(self) -> None:
        ordered = sorted(self.runs, key=lambda run: (run.dataset, run.strategy, run.seed))
        for one, other in itertools.pairwise(ordered):
            if (one.dataset, one.strategy, one.seed) == (other.dataset, other.strategy, other.seed):
                raise InputError(f"there are two runs of {one}: keep one of them, or give them different labels")
        object.__setattr__(self, "runs", tuple(ordered))

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets' labels, sorted."""
        return tuple(dict.fromkeys(run.dataset for run in self.runs))

    def on(self, dataset: str) -> dict[str, dict[int, FinishedRun]]:
        """Return a dataset's runs by strategy and seed."""
        found: dict[str, dict[int, FinishedRun]] = {}
        for run in self.runs:
            if run.dataset == dataset:
                found.setdefault(run.strategy, {})[run.seed] = run
        return found

    def areas(self, dataset: str) -> dict[str, dict[int, float]]:
        """Return AUBC on a dataset by strategy and seed."""
        return {
            strategy: {seed: run.aubc for seed, run in by_seed.items()}
            for strategy, by_seed in self.on(dataset).items()
        }


def load_results(path: str | Path) -> pandas.DataFrame:
    """Return finished runs as a tidy table, one row per run and round, sorted by dataset, strategy, seed and round.

    Args:
        path: A benchmark's folder, a single run's folder, a folder of such folders, or a results.csv.

    Returns:
        The columns of results.csv: ``dataset`` and ``strategy`` (labels), ``seed``, ``round`` (0 is the initial
        set), ``n_labeled``, ``accuracy`` (on the test set, in [0, 1]), ``train_s`` and ``query_s`` (seconds);
        and ``evaluate_s`` (seconds; NaN from a results.csv, which has none) and ``changes_training`` (whether the
        strategy changes training and not only selection; NA from a results.csv); and, if any run recorded it,
        ``plain_accuracy`` (of a plain model on the same labels; NaN for other runs).

    Raises:
        InputError: If pandas is not installed, or two different runs have dataset, strategy and seed in common.
        RunFolderError: If there is no finished run, or one is damaged.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise InputError("load_results returns a pandas table: pip install 'deepal_autoal[pandas]'") from error
    runs = read_results(path).runs
    rows = [(run, number) for run in runs for number in range(len(run.accuracy))]
    table = pd.DataFrame(
        {
            "dataset": [run.dataset for run, _ in rows],
            "strategy": [run.strategy for run, _ in rows],
            "seed": [run.seed for run, _ in rows],
            "round": [number for _, number in rows],
            "n_labeled": [run.n_labeled[number] for run, number in rows],
            "accuracy": [run.accuracy[number] for run, number in rows],
            **{
                f"{phase}_s": [run.seconds[number].get(phase, math.nan) for run, number in rows]
                for phase in ("train", "query", "evaluate")
            },
            "changes_training": pd.array([run.changes_training for run, _ in rows], dtype="boolean"),
        }
    )
    if any(run.plain_accuracy is not None for run in runs):
        table[PLAIN] = [math.nan if run.plain_accuracy is None else run.plain_accuracy[number] for run, number in rows]
    return table


def read_results(path: str | Path) -> Results:
    """Read the finished runs of a benchmark's folder, a single run's folder, or a results.csv.

    Run folders take precedence; results.csv is read only if there are none. A run in a benchmark's folder gets its
    labels from there, any other run the names of its dataset and strategy. A folder with none of these stands for the
    run folders and benchmarks in it; the same run in several of them counts once (see `merge_runs`).

    Raises:
        RunFolderError: If there is no finished run, or one is damaged or cannot be read.
        InputError: If two different runs have dataset, strategy and seed in common; says how they differ.
    """
    place = user_path(path, "PATH")
    with reading(place):
        return _read_results(place)


def _read_results(place: Path) -> Results:
    if place.exists() and not place.is_dir():
        return Results(tuple(_read_table(place)))
    if (place / CONFIG).exists():
        return Results((_read_single(place),))
    folders = run_folders(place)
    finished = [folder for folder in folders if (folder / SUMMARY).exists()]
    if finished:
        return Results(tuple(read_benchmark_run(folder) for folder in finished))
    if not folders and (place / RESULTS).exists():
        return Results(tuple(_read_table(place / RESULTS)))
    if folders:
        raise RunFolderError(f"no run in {place} has finished: repeat its benchmark command to continue it")
    inner = [folder for folder in inner_places(place) if has_finished(folder)]
    if inner:
        return Results(tuple(merge_runs(run for folder in inner for run in _read_results(folder).runs).values()))
    for pattern, above in (("*/seed-*", ".."), ("seed-*", "../..")):
        if any((folder / CONFIG).exists() for folder in place.glob(pattern)):
            raise RunFolderError(f"{place} is part of a benchmark: give its folder, {os.path.normpath(place / above)}")
    raise RunFolderError(f"{place} holds no runs: give a benchmark's folder, a run's folder, or a {RESULTS}")


def merge_runs(runs: Iterable[FinishedRun]) -> dict[RunKey, FinishedRun]:
    """Return runs by dataset, strategy and seed, each once.

    Of a run that is found twice, the first one counts, or rather the first one with a folder, which records settings.

    Args:
        runs: From any places.

    Raises:
        InputError: If two runs of one dataset, strategy and seed differ in settings or numbers; says how.
        RunFolderError: If a folder of one of the two is damaged.
    """
    merged: dict[RunKey, FinishedRun] = {}
    for run in runs:
        key = (run.dataset, run.strategy, run.seed)
        if key in merged:
            _refuse_another(merged[key], run)
        if key not in merged or (merged[key].folder is None and run.folder is not None):
            merged[key] = run
    return merged


def _refuse_another(one: FinishedRun, other: FinishedRun) -> None:
    # Settings first: if they differ, different numbers are no surprise.
    if one.folder is not None and other.folder is not None:
        here, there = read_settings(one.folder), read_settings(other.folder)
        found = [line for key in ("strategy", *PAIRED_BY, "initial") for line in settings_that_differ(key, here, there)]
        if found:
            raise InputError(f"two runs of {one}{_where(one, other)} had different settings: {'; '.join(found)}")
    if (one.n_labeled, one.accuracy) != (other.n_labeled, other.accuracy):
        raise InputError(
            f"there are two different runs of {one}{_where(one, other)}: give only one of the two places, or run one "
            "of the strategies under another label (deepal benchmark --strategies LABEL=NAME)"
        )


def _where(one: FinishedRun, other: FinishedRun) -> str:
    folders = [str(run.folder) for run in (one, other) if run.folder is not None]
    return f" ({' and '.join(folders)})" if folders else ""


@contextmanager
def reading(place: Path) -> Iterator[None]:
    """Turn errors of the system on the way to a place, such as a missing permission, into ones that name it."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(f"cannot read {error.filename or place}: {error.strerror or error}") from error


def inner_places(place: Path) -> list[Path]:
    """Return the run folders and benchmarks directly in a folder that is neither, sorted.

    The seeds' folders of a benchmark are only a part of it, and do not count. A symbolic link to a folder that is
    there too counts once.
    """
    if not place.is_dir() or (place / CONFIG).exists() or (place / RESULTS).exists() or run_folders(place):
        return []
    folders = [folder for folder in place.iterdir() if folder.is_dir() and not _SEED_FOLDER.fullmatch(folder.name)]
    return _without_links_to_each_other(
        folder for folder in folders if (folder / CONFIG).exists() or run_folders(folder)
    )  # fmt: skip


def has_finished(place: Path) -> bool:
    """Return whether a run folder's run, or any of a benchmark's folder, has finished."""
    return (place / SUMMARY).exists() or any((folder / SUMMARY).exists() for folder in run_folders(place))


def _without_links_to_each_other(folders: Iterable[Path]) -> list[Path]:
    """Return the folders, sorted, each once: by the name that is no symbolic link if there is one."""
    found: dict[str, Path] = {}
    for folder in sorted(folders, key=lambda folder: (os.path.realpath(folder) != os.path.abspath(folder), folder)):
        found.setdefault(os.path.realpath(folder), folder)
    return sorted(found.values())


def differs_from_table(out: Path, runs: Iterable[FinishedRun]) -> bool:
    """Return whether a benchmark's results.csv exists beside its run folders and differs from these runs.

    Args:
        out: The benchmark's folder.
        runs: The runs in its run folders.
    """
    if not (out / RESULTS).exists():
        return False
    try:
        recorded = {_numbers(run) for run in _read_table(out / RESULTS)}
    except RunFolderError:
        return True
    return recorded != {_numbers(run) for run in runs}


def _numbers(run: FinishedRun) -> tuple[Any, ...]:
    """Return the part of a run that results.csv holds."""
    seconds = tuple((phases["train"], phases["query"]) for phases in run.seconds)
    return run.dataset, run.strategy, run.seed, run.n_labeled, run.accuracy, seconds, run.plain_accuracy


def run_folders(out: Path, dataset: str = "*") -> list[Path]:
    """Return the folders of a benchmark's runs, finished or not, sorted."""
    return _without_links_to_each_other(
        folder
        for folder in out.glob(f"{dataset}/*/seed-*")
        if _SEED_FOLDER.fullmatch(folder.name) and (folder / CONFIG).exists()
    )


def read_benchmark_run(folder: Path) -> FinishedRun:
    """Read a finished run of a benchmark, with the labels given by its folder.

    Raises:
        RunFolderError: If it is damaged.
    """
    seed = int(folder.name.partition("-")[2])
    return _read_run(folder, folder.parent.parent.name, folder.parent.name, seed)


def _read_single(folder: Path) -> FinishedRun:
    if not (folder / SUMMARY).exists():
        raise RunFolderError(f"the run in {folder} has not finished: continue it with --resume --out {folder}")
    place = Path(os.path.realpath(folder))
    is_deep = len(place.parents) > 2
    if is_deep and _SEED_FOLDER.fullmatch(place.name) and (place.parents[2] / RESULTS).exists():
        return read_benchmark_run(place)
    config = read_config(folder)
    try:
        dataset, strategy, seed = config["dataset"]["name"], config["strategy"]["name"], config["seed"]
    except (KeyError, TypeError) as error:
        raise RunFolderError(f"{folder / CONFIG} is damaged: it does not name what was run") from error
    if not (isinstance(dataset, str) and isinstance(strategy, str) and isinstance(seed, int)):
        raise RunFolderError(f"{folder / CONFIG} is damaged: its names are not strings, or its seed is not an integer")
    return _read_run(folder, dataset, strategy, seed)


def _read_run(folder: Path, dataset: str, strategy: str, seed: int) -> FinishedRun:
    rounds, config, _ = read_finished(folder)
    try:
        return FinishedRun(
            dataset, strategy, seed,
            tuple(int(record["n_labeled"]) for record in rounds),
            tuple(float(record["accuracy"]) for record in rounds),
            tuple(_seconds(record["seconds"]) for record in rounds),
            bool(config["strategy"]["changes_training"]), folder,
            float(rounds[-1][WORST_GROUP]) if WORST_GROUP in rounds[-1] else None,
            tuple(float(record[PLAIN]) for record in rounds) if PLAIN in rounds[0] else None,
        )  # fmt: skip
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise RunFolderError(f"{folder} is damaged ({_reason(error)}); remove it") from error


def _seconds(recorded: Mapping[str, Any]) -> dict[str, float]:
    needed = {phase: float(recorded[phase]) for phase in ("train", "query")}
    return {**needed, **{phase: float(value) for phase, value in recorded.items()}}


def _read_table(path: Path) -> Iterable[FinishedRun]:
    """Yield the runs of a results.csv."""
    try:
        refuse_special(path)
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise RunFolderError(f"cannot read {path}: {error}") from error
    if not lines or tuple(lines[0]) not in (RESULT_COLUMNS, ALL_RESULT_COLUMNS):
        raise RunFolderError(f"{path} is not a table of results: its columns are not {','.join(RESULT_COLUMNS)}")
    if len(lines) == 1:
        raise RunFolderError(f"{path} holds no finished run")
    rounds: dict[tuple[str, str, int], list[tuple[int, float, dict[str, float], float | None]]] = {}
    for number, cells in enumerate(lines[1:], 2):
        try:
            *cells, plain = cells if len(lines[0]) == len(ALL_RESULT_COLUMNS) else (*cells, "")
            dataset, strategy, seed, index, n_labeled, accuracy, train, query = cells
            found = rounds.setdefault((dataset, strategy, int(seed)), [])
            seconds = {"train": float(train), "query": float(query)}
            found.append((int(n_labeled), float(accuracy), seconds, float(plain) if plain else None))
            is_next = int(index) == len(found) - 1
        except ValueError as error:
            raise RunFolderError(f"{path} is damaged in line {number}: {error}") from error
        if not is_next:
            raise RunFolderError(f"{path} is damaged in line {number}: a run's rounds are not numbered 0, 1, 2, ...")
    for key, records in rounds.items():
        n_labeled_, accuracy_, seconds_, plain_ = zip(*records, strict=True)
        known = tuple(value for value in plain_ if value is not None)
        try:
            yield FinishedRun(*key, n_labeled_, accuracy_, seconds_, plain_accuracy=known or None)
        except InputError as error:
            raise RunFolderError(f"{path} is damaged: {error}") from error


def _reason(error: Exception) -> Any:
    return f"{error} is missing" if isinstance(error, KeyError) else error
