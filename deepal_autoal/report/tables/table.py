"""Data structures for the report's tables: plain rows, and columns that say how values are shown and computed.

All formats are written from the same tables: CSV contains the raw values of rows, the others the columns' text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from deepal_autoal.report import wording

Row = Mapping[str, Any]
Cell = Callable[[Row], str]

BEST = "best"
LIKE_BEST = "like-best"
ACCURACY_ROWS = "results.csv: accuracy over n_labeled, rows of the dataset and strategy, "


@dataclass(frozen=True)
class Column:
    """A column as readers see it.

    Attributes:
        key: Key of the raw value that it is sorted by.
        title: Its heading.
        how: Which columns of results.csv it uses, and how it is computed.
        show: Returns a row's text.
        is_numeric: Whether it is aligned and sorted as a number.
        more: Keys of further raw values in its text.
        marks_best: Whether it highlights the best row and those that are not distinguishable from it.
        is_optional: Whether it is left out for a dataset where it is empty.
    """

    key: str
    title: str
    how: str
    show: Cell
    is_numeric: bool = True
    more: tuple[str, ...] = ()
    marks_best: bool = False
    is_optional: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all raw values that the column uses."""
        return (self.key, *self.more)


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Its name in files and options: lower case, no spaces.
        title: What it shows.
        columns: The columns that readers see.
        rows: Raw values by key, of JSON's own types.
        note: How to read it, in a sentence or two.
        by_dataset: Whether each row belongs to the dataset named under ``dataset``.
        extra: Keys of raw values that no column shows, for CSV.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    by_dataset: bool = False
    extra: tuple[str, ...] = field(default=())

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of a row's raw values, each once: the columns of the CSV."""
        head = ("dataset",) if self.by_dataset else ()
        return tuple(dict.fromkeys([*head, *(key for column in self.columns for key in column.keys), *self.extra]))

    def on(self, dataset: str) -> Table:
        """Return the part of the table on one dataset."""
        rows = tuple(row for row in self.rows if row["dataset"] == dataset)
        columns = tuple(
            column
            for column in self.columns
            if not column.is_optional or any(column.show(row) != wording.NOTHING for row in rows)
        )
        return replace(self, rows=rows, columns=columns)


def text_column(key: str, title: str, how: str = "", is_optional: bool = False) -> Column:
    """Return a column of text."""

    def show(row: Row) -> str:
        return wording.NOTHING if row[key] is None else str(row[key])

    return Column(key, title, how, show, is_numeric=False, is_optional=is_optional)


def number_column(key: str, title: str, how: str, show: Callable[[Any], str]) -> Column:
    """Return a column of numbers."""
    return Column(key, title, how, lambda row: show(row[key]))


def find_table(tables: Sequence[Table], name: str) -> Table:
    """Return a table by name.

    Raises:
        UnknownNameError: If no table has that name.
    """
    from deepal_autoal.errors import UnknownNameError

    for table in tables:
        if table.name == name:
            return table
    raise UnknownNameError("table", name, [table.name for table in tables])
