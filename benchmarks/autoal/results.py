"""Reads and writes the study's results in compact form, which is committed and used by tables and plots."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RUNS_CSV, WEIGHTS_CSV = "runs.csv", "weights.csv"
RUN_COLUMNS = (
    "setting", "label", "seed", "initial", "batch_size", "aubc", "accuracy", "train_s", "evaluate_s", "query_s",
)  # fmt: skip
WEIGHT_COLUMNS = ("setting", "label", "round", "candidate", "seeds", "mean", "std")


@dataclass(frozen=True)
class StudyRun:
    """A finished run.

    Attributes:
        setting, label, seed: Which run it is.
        aubc: Area under the budget curve, in [0, 1].
        n_labeled: Labeled samples at each round.
        accuracy: Test accuracy at each round, in [0, 1].
        seconds: ``train``, ``evaluate`` and ``query``, over all rounds.
    """

    setting: str
    label: str
    seed: int
    aubc: float
    n_labeled: tuple[int, ...]
    accuracy: tuple[float, ...]
    seconds: Mapping[str, float]


def read_lines(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the lines of runs.jsonl files that count: of runs of the same name the latest one that did not fail.

    Warns on standard error if runs of one label in a setting had different settings or options.
    """
    latest: dict[tuple[str, str, int], dict[str, Any]] = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if "failed" not in row:
                latest[row["setting"], row["label"], row["seed"]] = row
    keys: dict[tuple[str, str], set[str]] = {}
    for (setting, label, _), row in latest.items():
        keys.setdefault((setting, label), set()).add(row["key"])
    for (setting, label), found in keys.items():
        if len(found) > 1:
            print(f"warning: {setting} {label} mixes runs with different settings or options", file=sys.stderr)
    return [latest[name] for name in sorted(latest)]


def write_runs(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write one row per run; the accuracies of its rounds are separated by spaces."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(RUN_COLUMNS)
        for row in lines:
            seconds = [round(row["seconds"][phase], 2) for phase in ("train", "evaluate", "query")]
            initial, second = row["n_labeled"][:2]
            accuracies = " ".join(f"{value:.4f}" for value in row["accuracy"])
            which = [row["setting"], row["label"], row["seed"], initial, second - initial]
            writer.writerow([*which, f"{row['aubc']:.6f}", accuracies, *seconds])


def read_runs(path: Path) -> list[StudyRun]:
    """Return the runs that `write_runs` wrote."""
    runs = []
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            accuracy = tuple(map(float, row["accuracy"].split()))
            initial, batch_size = int(row["initial"]), int(row["batch_size"])
            n_labeled = tuple(initial + batch_size * number for number in range(len(accuracy)))
            seconds = {phase: float(row[f"{phase}_s"]) for phase in ("train", "evaluate", "query")}
            runs.append(
                StudyRun(
                    row["setting"], row["label"], int(row["seed"]), float(row["aubc"]), n_labeled, accuracy, seconds
                )
            )
    return runs


def write_weights(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write mean and standard deviation over seeds of each candidate's weight in each round (Fig. 5).

    The oracle chooses one candidate, so its mean is the share of seeds on which it chose this one. Weights that are
    all equal, as a vote's, are left out.
    """
    found: dict[tuple[str, str], list[list[Mapping[str, float]]]] = {}
    for row in lines:
        by_round = row.get("weights") or [{name: 1.0} for name in row.get("chosen", ())]
        if by_round:
            found.setdefault((row["setting"], row["label"]), []).append(by_round)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(WEIGHT_COLUMNS)
        for (setting, label), runs in found.items():
            if all(are_alike(weights) for by_round in runs for weights in by_round):
                continue
            names = sorted({name for by_round in runs for weights in by_round for name in weights})
            for number in range(max(len(by_round) for by_round in runs)):
                for name in names:
                    values = np.array([by_round[number].get(name, 0.0) for by_round in runs])
                    std = values.std(ddof=1) if len(values) > 1 else 0.0
                    writer.writerow([setting, label, number, name, len(values), f"{values.mean():.4f}", f"{std:.4f}"])


def are_alike(weights: Mapping[str, float]) -> bool:
    return len(weights) > 1 and len(set(weights.values())) == 1


def read_weights(path: Path) -> list[dict[str, str]]:
    """Return the rows that `write_weights` wrote."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
