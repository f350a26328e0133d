"""Reads and writes the results: one row per training, in an append-only CSV file."""

import csv
import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        part, dataset, per_class, model, seed: Which training it is.
        accuracy: In [0, 1]; higher is better.
        nll: Mean negative log-likelihood in nats; lower is better; None without probabilities.
        seconds: CPU time of training.
    """

    part: str
    dataset: str
    per_class: int
    model: str
    seed: int
    accuracy: float
    nll: float | None
    seconds: float

    @property
    def key(self) -> tuple[str, str, int, str, int]:
        """What identifies the row."""
        return self.part, self.dataset, self.per_class, self.model, self.seed


COLUMNS = tuple(field.name for field in fields(Row))


def read_rows(path: Path) -> list[Row]:
    """Return the rows; none if there is no file. Of two rows with the same key the later one counts."""
    if not path.exists():
        return []
    found: dict[tuple[str, str, int, str, int], Row] = {}
    with open(path, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            row = Row(
                line["part"], line["dataset"], int(line["per_class"]), line["model"], int(line["seed"]),
                float(line["accuracy"]), float(line["nll"]) if line["nll"] else None, float(line["seconds"]),
            )  # fmt: skip
            found[row.key] = row
    return list(found.values())


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append rows, and write the header to a new file."""
    is_new = not path.exists() or not path.stat().st_size
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(COLUMNS)
        for row in rows:
            *which, accuracy, nll, seconds = astuple(row)
            writer.writerow([*which, f"{accuracy:.5f}", "" if nll is None else f"{nll:.5f}", f"{seconds:.4g}"])


def mend(path: Path) -> None:
    """Cut off an incomplete last line that a killed process left."""
    if path.exists():
        content = path.read_bytes()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            os.truncate(path, end)
