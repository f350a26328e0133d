"""Reads finished runs from one or more places and merges them into a `Study`, checking that they may be paired."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.experiment.paired_settings import PAIRED_BY, complete_settings, settings_that_differ
from deepal_autoal.experiment.results import (
    RESULTS,
    FinishedRun,
    Results,
    RunKey,
    differs_from_table,
    inner_places,
    merge_runs,
    read_results,
    reading,
    run_folders,
)
from deepal_autoal.experiment.run_files import CONFIG, SUMMARY, read_config, read_rounds
from deepal_autoal.report.paths import without_folders
from deepal_autoal.report.wording import joined
from deepal_autoal.user_paths import user_path

# May differ, but differences are reported: they change the last digits of numbers, and training amplifies that.
REPORTED_VERSIONS = ("torch", "torchvision", "numpy", "scikit-learn", "deepal_autoal")
# The parts of config.json whose contents a report uses, by dotted name; everything else is only printed.
KINDS: dict[str, type] = {
    "dataset": dict, "dataset.source": dict, "dataset.changes": dict, "dataset.input_shape": list,
    "strategy": dict, "strategy.options": dict, "initial": list, "settings": dict, "seed": int,
    "model": dict, "model.options": dict, "recipe": dict, "plugin_options": dict, "versions": dict, "plugins": dict,
    "command": list,
}  # fmt: skip
KIND_NAMES = {dict: "an object", list: "a list", int: "a whole number"}
NEEDED = ("dataset", "strategy", "initial", "settings", "seed")
NULL_TOO = ("dataset.changes",)
# Of an audit's estimate in a round's record.
AUDITED = ("accuracy", "low", "high")


@dataclass(frozen=True)
class RunRecord:
    """The contents of a finished run's folder besides accuracies and times.

    Attributes:
        config: The contents of ``config.json``.
        weights: The weights a selector reported at each round, by candidate; None for a round without weights.
        first_picks: The pool indices chosen after round 0, in the order in which the strategy returned them.
        audits: What the audit estimated at each round: ``accuracy``, ``low`` and ``high``, in [0, 1]; None for a round
            without an estimate.
    """

    config: Mapping[str, Any]
    weights: tuple[Mapping[str, float] | None, ...]
    first_picks: tuple[int, ...]
    audits: tuple[Mapping[str, float] | None, ...] = ()


@dataclass(frozen=True)
class Unfinished:
    """A run that was started and has not finished.

    Attributes:
        folder: Its folder.
        n_done: Rounds recorded, including the initial one.
        n_planned: Rounds planned; None if its settings cannot be read.
    """

    folder: Path
    n_done: int
    n_planned: int | None


@dataclass(frozen=True)
class Study:
    """Finished runs that may be compared.

    Attributes:
        results: The runs.
        records: By dataset, strategy and seed; runs that were read from a results.csv have none.
        unfinished: Runs that were skipped.
        notes: What a reader must know about how the runs were merged, a sentence or two each.
    """

    results: Results
    records: Mapping[RunKey, RunRecord]
    unfinished: tuple[Unfinished, ...]
    notes: tuple[str, ...]

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies' labels, sorted."""
        return tuple(sorted({run.strategy for run in self.results.runs}))

    def configs(self, dataset: str) -> list[Mapping[str, Any]]:
        """Return the recorded settings of a dataset's runs, by strategy and seed."""
        return [record.config for (name, _, _), record in sorted(self.records.items()) if name == dataset]

    def weights(self, dataset: str) -> dict[str, dict[int, tuple[Mapping[str, float] | None, ...]]]:
        """Return the candidate weights that selectors reported on a dataset: by strategy and seed, one entry a round.

        Strategies that reported no weights are left out.
        """
        found: dict[str, dict[int, tuple[Mapping[str, float] | None, ...]]] = {}
        for (name, strategy, seed), record in sorted(self.records.items()):
            if name == dataset and any(record.weights):
                found.setdefault(strategy, {})[seed] = record.weights
        return found

    def audits(self, dataset: str) -> dict[str, dict[int, tuple[Mapping[str, float] | None, ...]]]:
        """Return what audits estimated on a dataset: by strategy and seed, one entry a round; only where they did."""
        found: dict[str, dict[int, tuple[Mapping[str, float] | None, ...]]] = {}
        for (name, strategy, seed), record in sorted(self.records.items()):
            if name == dataset and any(record.audits):
                found.setdefault(strategy, {})[seed] = record.audits
        return found


def read_study(paths: Sequence[str | Path]) -> Study:
    """Read and merge the finished runs of benchmark folders, run folders and results.csv files.

    A folder with none of these stands for the run folders and benchmarks in it. A run that is found twice with the same
    numbers and settings counts once.

    Raises:
        RunFolderError: If a place holds no runs, no run has finished, or one is damaged.
        InputError: If two runs of one dataset, strategy and seed differ, or a dataset's runs had different settings;
            the message says how they differ.
    """
    places = tuple(dict.fromkeys(user_path(path, "PATH") for path in paths))
    if not places:
        raise InputError("no PATH given: name a benchmark's folder, a run's, or a results.csv")
    finished: list[FinishedRun] = []
    unfinished: dict[str, Unfinished] = {}
    unlike_tables = []
    for place in [inner for outer in places for inner in _expanded(outer)]:
        with reading(place):
            found, begun = _read(place)
            differs = (place / RESULTS).exists() and run_folders(place) and differs_from_table(place, found)
        if differs:
            unlike_tables.append(f"{os.path.basename(os.path.realpath(place))}/{RESULTS}")
        unfinished |= {os.path.realpath(item.folder): item for item in begun}
        finished += found
    runs = merge_runs(finished)
    records = {key: _read_record(run.folder) for key, run in runs.items() if run.folder is not None}
    if not runs:
        raise RunFolderError(f"no run in {', '.join(map(str, places))} has finished: repeat its command to resume it")
    results = Results(tuple(runs.values()))
    for dataset in results.datasets:
        _refuse_other_settings(dataset, runs, records)
    notes = [
        *_unlike_tables(unlike_tables),
        *_bare_tables(results, records, places),
        *_unlike_versions(records),
        *_unlike_strategies(records),
    ]
    return Study(results, records, tuple(unfinished.values()), tuple(notes))


def _expanded(place: Path) -> list[Path]:
    with reading(place):
        return inner_places(place) or [place]


def _read(place: Path) -> tuple[Iterable[FinishedRun], list[Unfinished]]:
    """Return the finished and the unfinished runs of a place."""
    if (place / CONFIG).exists():
        if not (place / SUMMARY).exists():
            return (), [_unfinished(place)]
        return read_results(place).runs, []
    folders = run_folders(place) if place.is_dir() else []
    begun = [folder for folder in folders if not (folder / SUMMARY).exists()]
    if folders and len(begun) == len(folders):
        return (), [_unfinished(folder) for folder in begun]
    return read_results(place).runs, [_unfinished(folder) for folder in begun]


def _unfinished(folder: Path) -> Unfinished:
    try:
        n_done, planned = len(read_rounds(folder)), read_config(folder)["rounds"] + 1
    except (RunFolderError, KeyError, TypeError):
        return Unfinished(folder, 0, None)
    return Unfinished(folder, n_done, planned)


def _read_record(folder: Path) -> RunRecord:
    rounds, config = read_rounds(folder), read_config(folder)
    missing = [key for key in NEEDED if key not in config]
    if missing:
        raise RunFolderError(f"{folder / CONFIG} is damaged: it lacks {', '.join(missing)}; remove the run")
    wrong = [f"{name} is not {KIND_NAMES[kind]}" for name, kind in _wrong_kinds(config)]
    if wrong:
        raise RunFolderError(f"{folder / CONFIG} is damaged: {joined(wrong)}; remove the run")
    try:
        weights = tuple(_weights(record.get("strategy")) for record in rounds)
        picks = tuple(int(index) for index in rounds[0]["queried"])
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise RunFolderError(f"{folder} is damaged: {error} in its rounds; remove it") from error
    return RunRecord(complete_settings(config), weights, picks, tuple(_audited(one.get("audit")) for one in rounds))


def _wrong_kinds(config: Mapping[str, Any]) -> Iterator[tuple[str, type]]:
    """Yield the dotted name and the expected kind of each entry of a wrong kind."""
    # A part comes before its entries; if the part itself is wrong, they are skipped.
    parts: dict[str, Any] = {"": config}
    for name, kind in KINDS.items():
        above, _, key = name.rpartition(".")
        if key in parts.get(above, {}):
            value = parts[above][key]
            if isinstance(value, kind) and not isinstance(value, bool):
                parts[name] = value
            elif not (value is None and name in NULL_TOO):
                yield name, kind
    yield from _wrong_candidates("strategy", parts.get("strategy", {}))


def _wrong_candidates(name: str, strategy: Mapping[str, Any]) -> Iterator[tuple[str, type]]:
    """Yield the wrong entries of a selector's candidates, which may be selectors too."""
    candidates = strategy.get("candidates", [])
    if not isinstance(candidates, list):
        yield f"{name}.candidates", list
        return
    for number, candidate in enumerate(candidates):
        place = f"{name}.candidates.{number}"
        if not isinstance(candidate, dict):
            yield place, dict
        elif not isinstance(candidate.get("options", {}), dict):
            yield f"{place}.options", dict
        else:
            yield from _wrong_candidates(place, candidate)


def _weights(report: Any) -> Mapping[str, float] | None:
    """Return the weights in a strategy's own report; None if they are not weights, as any plugin may use that key."""
    weights = report.get("weights") if isinstance(report, Mapping) else None
    if not isinstance(weights, Mapping) or not weights:
        return None
    if not all(isinstance(value, int | float) and 0 <= value < float("inf") for value in weights.values()):
        return None
    return {str(name): float(value) for name, value in weights.items()}


def _audited(audit: Any) -> Mapping[str, float] | None:
    """Return the accuracy that an audit estimated, with its interval; None if there is none."""
    found: list[Any] = [audit.get(name) for name in AUDITED] if isinstance(audit, Mapping) else [None]
    if not all(isinstance(value, int | float) and 0 <= value <= 1 for value in found):
        return None
    return dict(zip(AUDITED, map(float, found), strict=True))


def _refuse_other_settings(
    dataset: str, runs: Mapping[RunKey, FinishedRun], records: Mapping[RunKey, RunRecord]
) -> None:
    """Refuse runs of a dataset that cannot be paired."""
    # In the order in which they were read: the others are compared to the first place.
    keys = [key for key in records if key[0] == dataset]
    first: dict[Any, RunKey] = {}
    for key in keys:
        _, strategy, seed = key
        checks: list[tuple[Any, list[str]]] = [
            (None, list(PAIRED_BY)),
            (("seed", seed), ["initial"]),
            (("strategy", strategy), ["strategy"]),
        ]
        for group, parts in checks:
            reference = first.setdefault(group, key)
            one, other = records[reference].config, records[key].config
            found = [line for part in parts for line in settings_that_differ(part, one, other)]
            if found:
                raise InputError(
                    f"runs on {dataset} had different settings and cannot be compared: {joined(found)} "
                    f"({runs[reference].folder} and {runs[key].folder}). Report them separately, or repeat one with "
                    "the other's settings"
                )


def _unlike_tables(tables: Sequence[str]) -> Iterator[str]:
    for table in tables:
        yield (
            f"{table} differs from the run folders next to it and was not read: all numbers here are from the "
            "folders. Repeat the benchmark's command to rewrite it."
        )


def _bare_tables(results: Results, records: Mapping[RunKey, RunRecord], places: Sequence[Path]) -> Iterator[str]:
    bare = {run.dataset for run in results.runs if (run.dataset, run.strategy, run.seed) not in records}
    if bare and len(places) > 1:
        yield (
            f"Runs on {', '.join(sorted(bare))} were read from a results.csv, which records no settings: nothing shows "
            "that they may be paired with the others."
        )
    elif bare:
        yield "The runs were read from a results.csv, which records no settings: nothing shows how they were produced."


def _unlike_versions(records: Mapping[RunKey, RunRecord]) -> Iterator[str]:
    for name in REPORTED_VERSIONS:
        found = sorted({str(record.config.get("versions", {}).get(name)) for record in records.values()})
        if len(found) > 1:
            yield f"Runs used different versions of {name}, which may change numbers: {', '.join(found)}."


def _unlike_strategies(records: Mapping[RunKey, RunRecord]) -> Iterator[str]:
    """Report labels that mean different strategies or options on different datasets."""
    first: dict[str, tuple[str, RunRecord]] = {}
    reported = set()
    for (dataset, strategy, _), record in sorted(records.items()):
        where, reference = first.setdefault(strategy, (dataset, record))
        if strategy not in reported and (found := settings_that_differ("strategy", reference.config, record.config)):
            reported.add(strategy)
            yield without_folders(f"{strategy} is not the same on {where} and on {dataset}: {joined(found)}.")
