"""The parts of a run folder that are read, and verified, without torch: file names, round records and their totals.

The summary of a finished run holds the checksums of its rounds, of its identity (see `run_identity`) and of its model;
in an unfinished run the saved state holds the first two. Runs of earlier versions have none of them.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepal_autoal.errors import RunFolderError
from deepal_autoal.files import checksum_of_bytes, checksum_of_value, parse_json, read_bytes, read_json

CONFIG, ROUNDS, SUMMARY, MODEL = "config.json", "rounds.jsonl", "summary.json", "model.pt"
CHECKSUMS = "checksums"
FORMAT_VERSION = 1


def read_config(path: Path) -> dict[str, Any]:
    """Return the contents of a run folder's ``config.json``, as whatever version of this package wrote it.

    Raises:
        RunFolderError: If the file is damaged, or of a format that this version does not know.
    """
    file = path / CONFIG
    config = read_json(file)
    if not isinstance(config, dict):
        raise RunFolderError(f"{file} is damaged: it holds {type(config).__name__}, not a dict")
    check_format(config, file)
    return config


def check_format(config: Mapping[str, Any], where: object) -> None:
    """Refuse a ``config.json`` of a format that this version does not know.

    Args:
        config: Its contents.
        where: The file, for messages.

    Raises:
        RunFolderError: If it is of another format; one without a number is taken for ours.
    """
    version = config.get("format_version", FORMAT_VERSION)
    if version == FORMAT_VERSION:
        return
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise RunFolderError(
            f"{where} was written by a newer version of deepal_autoal (format {version}; this version reads "
            f"{FORMAT_VERSION}): update deepal_autoal"
        )
    raise RunFolderError(f"{where} is not in a format that this version can read (format {version!r})")


def read_summary(path: Path) -> dict[str, Any]:
    """Return a finished run's ``summary.json``.

    Raises:
        RunFolderError: If it is damaged.
    """
    summary = read_json(path / SUMMARY)
    if not isinstance(summary, dict) or not isinstance(summary.get(CHECKSUMS, {}), dict):
        raise RunFolderError(f"{path / SUMMARY} is damaged")
    return summary


def read_finished(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """Return the records, the settings and the summary of a finished run, which belong together.

    Raises:
        RunFolderError: If a file is damaged, or they do not belong together.
    """
    summary = read_summary(path)
    lines, config = read_round_lines(path), read_config(path)
    records = [record for _, record in lines]
    if not records:
        raise RunFolderError(f"{path} is damaged: it is finished but holds no rounds; remove it")
    expected = summary.get(CHECKSUMS, {})
    content = b"".join(line for line, _ in lines)
    if expected.get(ROUNDS) not in (None, checksum_of_bytes(content)) or not _fits(summary, records):
        raise RunFolderError(f"{path / ROUNDS} is damaged or was edited: it does not match {SUMMARY}")
    if expected.get(CONFIG) not in (None, run_identity(config)):
        raise RunFolderError(f"{path / CONFIG} is of another run: it does not match {SUMMARY}")
    return records, config, summary


def _fits(summary: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether what a summary holds is that of the records; an earlier version's has no checksums."""
    last = records[-1]
    expected = {"n_rounds": last["round"], "n_labeled": last["n_labeled"], "final_accuracy": last["accuracy"]}
    return all(summary.get(name, value) == value for name, value in expected.items())


def run_identity(config: Mapping[str, Any]) -> str:
    """Return a hex digest of what a run is, which stays when it is extended or its data is moved.

    Args:
        config: The contents of ``config.json``.
    """
    dataset = config.get("dataset")
    fingerprint = dataset.get("fingerprint") if isinstance(dataset, Mapping) else None
    names = ("pool_size", "initial", "batch_size", "strategy", "seed")
    return checksum_of_value([fingerprint, *(config.get(name) for name in names)])


def require_run(folder: Path, *to_start: object) -> None:
    """Refuse to resume where there is no run, if nothing was said about what to run there instead.

    Args:
        folder: The run folder.
        to_start: What says it: strategy, dataset and protocol as they were given, None if not.

    Raises:
        RunFolderError: If the folder holds no run; names the nearest folders that do.
    """
    if os.path.exists(folder / CONFIG) or any(given is not None for given in to_start):
        return
    try:
        others = [path.parent.name for path in folder.parent.glob(f"*/{CONFIG}")]
    except OSError:
        others = []
    near = [str(folder.with_name(name)) for name in difflib.get_close_matches(folder.name, others)]
    advice = f"did you mean {' or '.join(near)}? " if near else ""
    raise RunFolderError(
        f"--resume --out {folder}: there is no run in that folder; {advice}"
        "to start one there, say what to run: add --strategy NAME --dataset NAME"
    )


def read_rounds(path: Path) -> list[dict[str, Any]]:
    """Return the records of a run folder's finished rounds.

    Raises:
        RunFolderError: If the file is damaged.
    """
    return [record for _, record in read_round_lines(path)]


def read_round_lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Return the records of a run folder's finished rounds, each with the line that holds it.

    Raises:
        RunFolderError: If the file is damaged.
    """
    file = path / ROUNDS
    if not file.exists():
        return []
    lines = read_bytes(file).splitlines(keepends=True)
    records = [parse_json(line, f"line {number} of {file}") for number, line in enumerate(lines, 1)]
    for number, record in enumerate(records):
        if not isinstance(record, dict) or record.get("round") != number:
            raise RunFolderError(f"{file} is damaged: its rounds are not numbered 0, 1, 2, ...")
        wrong = _wrong_entry(record)
        if wrong is not None:
            raise RunFolderError(f"{file} is damaged: {wrong!r} of round {number} is missing or of another kind")
    return list(zip(lines, records, strict=True))


def _wrong_entry(record: Mapping[str, Any]) -> str | None:
    """Return the name of an entry that is missing or has a value that no run writes, or None."""
    seconds, queried = record.get("seconds"), record.get("queried")
    right = {
        "n_labeled": isinstance(record.get("n_labeled"), int),
        "accuracy": _is_number(record.get("accuracy")),
        "queried": isinstance(queried, list) and all(isinstance(index, int) for index in queried),
        "seconds": isinstance(seconds, dict) and all(_is_number(value) for value in seconds.values()),
    }
    return next((name for name, is_right in right.items() if not is_right), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def recorded_scaling(config: Mapping[str, Any]) -> Any:
    """Return how a run's samples were scaled; earlier versions recorded nothing and scaled vectors by feature.

    Args:
        config: The contents of ``config.json``.
    """
    kind = config["dataset"].get("kind")
    return config.get("scaling", "channel" if kind == "images" else "feature" if kind == "vectors" else None)


def total_seconds(rounds: Sequence[Mapping[str, Any]]) -> float:
    """Return the seconds of all phases of all rounds; ``query.search`` is part of ``query`` and not counted twice."""
    return float(sum(value for record in rounds for phase, value in record["seconds"].items() if "." not in phase))


def area_under_budget_curve(n_labeled: Sequence[int], accuracy: Sequence[float]) -> float:
    """Return the trapezoid area under accuracy against labeled count, divided by the budget spent.

    Args:
        n_labeled: Labeled samples at each round, ascending.
        accuracy: Test accuracy at each round, in [0, 1].

    Returns:
        In [0, 1], higher is better; the accuracy itself if there is only one round.
    """
    if len(n_labeled) == 1:
        return float(accuracy[0])
    x, y = np.asarray(n_labeled, dtype=float), np.asarray(accuracy, dtype=float)
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / (x[-1] - x[0]))
