"""The parts of a run folder that are read without torch: file names, round records and their totals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepal_autoal.errors import RunFolderError
from deepal_autoal.files import refuse_special

CONFIG, ROUNDS, SUMMARY, LOCK = "config.json", "rounds.jsonl", "summary.json", ".lock"


def read_rounds(path: Path) -> list[dict[str, Any]]:
    """Return the records of a run folder's finished rounds.

    Raises:
        RunFolderError: If the file is damaged.
    """
    file = path / ROUNDS
    if not file.exists():
        return []
    try:
        refuse_special(file)
        records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except RecursionError:
        raise RunFolderError(f"cannot read {file}: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"cannot read {file}: {error}") from error
    if [record.get("round") if isinstance(record, dict) else None for record in records] != list(range(len(records))):
        raise RunFolderError(f"{file} is damaged: its rounds are not numbered 0, 1, 2, ...")
    return records


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
