"""The report's tables: plain rows, and columns that say how they are shown and where they come from.

Every format is made of the same tables: CSV writes a row's raw values, the others the columns' text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from deepal_autoal.report import cells

Row = Mapping[str, Any]
Cell = Callable[[Row], str]

BEST = "best"
LIKE_BEST = "like-best"
ACCURACY_ROWS = "results.csv: accuracy over n_labeled, rows of the dataset and strategy, "


@dataclass(frozen=True)
class Column:
    """A column as readers see it.

    Attributes:
        key: Of the raw value that it is sorted by.
        title: Its heading.
        how: Which columns of results.csv it is from, and how it is computed.
        show: Gives a row's text.
        is_numeric: Whether it is aligned and sorted as a number.
        more: Keys of further raw values that its text holds.
        marks_best: Whether the best row, and those that are not distinguishable from it, stand out in it.
        is_optional: Whether it is left out for a dataset of which it says nothing.
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
        """The keys of all raw values that the column is made of."""
        return (self.key, *self.more)


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Of files and options: lower case, no spaces.
        title: What it shows.
        columns: What readers see.
        rows: Raw values by key; JSON's own types.
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
        """The keys of a row's raw values, each once: what CSV has as columns."""
        head = ("dataset",) if self.by_dataset else ()
        return tuple(dict.fromkeys([*head, *(key for column in self.columns for key in column.keys), *self.extra]))

    def on(self, dataset: str) -> Table:
        """Return a dataset's part."""
        rows = tuple(row for row in self.rows if row["dataset"] == dataset)
        columns = tuple(
            column
            for column in self.columns
            if not column.is_optional or any(column.show(row) != cells.NOTHING for row in rows)
        )
        return replace(self, rows=rows, columns=columns)


def text_column(key: str, title: str, how: str = "", is_optional: bool = False) -> Column:
    """Return a column of texts."""

    def show(row: Row) -> str:
        return cells.NOTHING if row[key] is None else str(row[key])

    return Column(key, title, how, show, is_numeric=False, is_optional=is_optional)


def number_column(key: str, title: str, how: str, show: Callable[[Any], str]) -> Column:
    """Return a column of numbers."""
    return Column(key, title, how, lambda row: show(row[key]))


def find_table(tables: Sequence[Table], name: str) -> Table:
    """Return a table by name.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    from deepal_autoal.errors import UnknownNameError

    for table in tables:
        if table.name == name:
            return table
    raise UnknownNameError("table", name, [table.name for table in tables])
