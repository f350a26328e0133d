"""Defines what is measured: cases, ways (implementations), and the rows of results."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

# Four implementations of the rule alone, on given outputs; and `ActiveLearner.query`, starting from the pool.
OURS, PLAIN, MATRIX, ACTIVEML, QUERY = "ours", "plain", "matrix", "scikit-activeml", "query"
WAYS = (OURS, PLAIN, MATRIX, ACTIVEML, QUERY)
# Strategies that build their batch one sample or cluster after the other: time grows with b.
GROW_WITH_BATCH = (
    "badge", "coreset", "kmeans", "dbal", "maxherding", "uherding", "probcover", "typiclust", "dropquery", "bait",
    "batchbald", "dpp", "exploit-explore",
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Case:
    """A strategy at a size."""

    part: str
    strategy: str
    n: int
    batch_size: int
    classes: int

    def __str__(self) -> str:
        return f"{self.strategy} N={self.n:,} b={self.batch_size:,} C={self.classes}"

    def is_within(self, other: Case) -> bool:
        """Whether it is the same strategy with no size larger."""
        sizes = zip((self.n, self.batch_size, self.classes), (other.n, other.batch_size, other.classes), strict=True)
        return (self.part, self.strategy) == (other.part, other.strategy) and all(a <= b for a, b in sizes)


@dataclass(frozen=True)
class Row:
    """The result of one way in one case; empty cells are empty strings.

    Attributes:
        part, strategy, n, batch_size, classes: The case.
        way: One of `WAYS`, or a part's own name.
        status: ``done``, ``stopped`` (at the limit), ``expected`` (not tried: a smaller case took too long), ``memory``
            (too much, or expected to be), ``failed``.
        seconds, low, high: Median and range over the repeats.
        repeats: Number of repeats.
        peak_mb: Largest peak above what the process held before, 10^6 bytes.
        ratio, ratio_low, ratio_high: Ratio of its seconds to ours, repeat by repeat: median and range.
        quality: Quality of its batch in units of ours, see `quality`.
        common: Share of its batch that is also in ours.
        note: For example, why there are no seconds.
    """

    part: str
    strategy: str
    n: int
    batch_size: int
    classes: int
    way: str
    status: str
    seconds: float | str = ""
    low: float | str = ""
    high: float | str = ""
    repeats: int | str = ""
    peak_mb: float | str = ""
    ratio: float | str = ""
    ratio_low: float | str = ""
    ratio_high: float | str = ""
    quality: float | str = ""
    common: float | str = ""
    note: str = ""

    @property
    def case(self) -> Case:
        """The row's case."""
        return Case(self.part, self.strategy, self.n, self.batch_size, self.classes)


COLUMNS = tuple(field.name for field in fields(Row))
_WHOLE = ("n", "batch_size", "classes", "repeats")
_TEXTS = ("part", "strategy", "way", "status", "note")


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file; none if there is no such file."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [Row(**{key: _value(key, text) for key, text in line.items()}) for line in csv.DictReader(file)]  # type: ignore[arg-type]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Replace the file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    with open(aside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(astuple(row) for row in rows)
    os.replace(aside, path)


def merged(rows: Sequence[Row], more: Sequence[Row]) -> list[Row]:
    """Return the rows in order, with those of the same case and way replaced by ``more``."""
    replaced = {(row.case, row.way) for row in more}
    kept = [row for row in rows if (row.case, row.way) not in replaced]
    order = {way: number for number, way in enumerate(WAYS)}
    return sorted([*kept, *more], key=lambda row: (row.case, order.get(row.way, 0), row.way))


def _value(key: str, text: str) -> int | float | str:
    if key in _TEXTS or not text:
        return text
    return int(text) if key in _WHOLE else float(text)
