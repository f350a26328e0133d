"""Tables as people have them: CSV from any spreadsheet, and Parquet."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.errors import InputError, error_message
from deepal_autoal.files import read_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DELIMITERS = (",", ";", "\t")
_LONGEST_CELL = 16 << 20


class Table:
    """Named columns of equal length.

    Args:
        path: The file, for messages.
        columns: By name; each a list of texts, or an array of numbers (N,) or (N, D).
        lines: The line of each row in the file, if it has lines.

    Attributes:
        names: Of the columns.
    """

    def __init__(self, path: Path, columns: Mapping[str, Any], lines: Sequence[int] | None = None) -> None:
        self.path = path
        self.names = list(columns)
        self._columns = columns
        self._lines = lines

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def where(self, row: int) -> str:
        """Return where a row is, for a message."""
        return f"{self.path}, " + (f"row {row}" if self._lines is None else f"line {self._lines[row]}")

    def texts(self, name: str) -> list[str]:
        """Return a column as texts without spaces around them; a missing value is empty."""
        return [_as_text(value).strip() for value in self._columns[name]]

    def numbers(self, excluded: Collection[str]) -> NDArray[np.float32]:
        """Return all other columns as one array of features, float32 (N, D).

        Raises:
            InputError: If there is none, or one has no name or does not hold numbers; the message says where.
        """
        names = self._other(excluded)
        if not names:
            raise InputError(f"{self.path}: no column holds samples; name one path or text, or give columns of numbers")
        if "" in names:
            raise InputError(
                f"{self.path}: a column has no name, as row numbers that pandas writes; name it id, or leave it out "
                "(index=False)"
            )
        parts = [self._number_column(name) for name in names]
        return np.concatenate(parts, axis=1)

    def feature_names(self, excluded: Collection[str]) -> list[str]:
        """Return the names of the features that `numbers` returns; those in a column of lists are numbered."""
        names = []
        for name in self._other(excluded):
            column = self._columns[name]
            width = column.shape[1] if isinstance(column, np.ndarray) and column.ndim == 2 else None
            names += [name] if width is None else [f"{name} {place}" for place in range(width)]
        return names

    def _other(self, excluded: Collection[str]) -> list[str]:
        return [name for name in self.names if name not in excluded]

    def _number_column(self, name: str) -> NDArray[np.float32]:
        column = self._columns[name]
        if isinstance(column, np.ndarray):
            return column.astype(np.float32).reshape(len(column), -1)
        values = np.empty((len(column), 1), dtype=np.float32)
        for row, cell in enumerate(column):
            try:
                values[row] = float(cell)
            except ValueError:
                raise InputError(
                    f"{self.where(row)}: column {name!r} holds {cell[:40]!r}, which is no number; name the column path "
                    "for image files or text for texts, or remove it"
                ) from None
        return values


def read_csv(path: Path, *, lower_case: bool = True) -> Table:
    """Read a CSV file with a line of column names, separated by commas, semicolons or tabs, in UTF-8 or UTF-16.

    Column names are in lower case, unless ``lower_case`` is False.

    Raises:
        InputError: If it is no such table; the message names the line.
    """
    with _any_cell_size():
        return _read_csv(path, lower_case)


class _any_cell_size:  # noqa: N801
    """Allow cells of any usual text's length inside the block; the limit is global."""

    def __enter__(self) -> None:
        self._before = csv.field_size_limit(_LONGEST_CELL)

    def __exit__(self, *exception: object) -> None:
        csv.field_size_limit(self._before)


def _read_csv(path: Path, lower_case: bool) -> Table:
    text = _decoded(path)
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter_of(first))
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = [cell.strip().lower() if lower_case else cell.strip() for cell in next(reader, [])]
        if not any(header) or len(set(header)) < len(header) or all(map(_is_number, header)):
            raise InputError(f"{path}: the first line must name the columns, each once; it is {first.strip()[:60]!r}")
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(row)} fields where the header names {len(header)}; put "
                    "fields that contain the separator in double quotes; if the file was cut off, save it again"
                )
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}; save it as comma-separated text") from error
    return Table(path, {name: [row[column] for row in rows] for column, name in enumerate(header)}, lines)


def delimiter_of(line: str) -> str:
    """Return the separator of a table's first line: the most frequent of comma, semicolon and tab."""
    return max(_DELIMITERS, key=lambda mark: (line.count(mark), mark == ","))


def is_cut_off(path: Path) -> bool:
    """Return whether a text file does not end with a line break, as one that was written in part."""
    content = read_bytes(path)
    return bool(content) and content.rstrip(b"\0")[-1:] not in (b"\n", b"\r")


def _decoded(path: Path) -> str:
    content = read_bytes(path)
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}); save it as CSV UTF-8") from error
    if "\0" in text:
        raise InputError(f"{path} is not a text file: it holds null characters; save it as CSV UTF-8")
    return text


def read_parquet(path: Path) -> Table:
    """Read a Parquet file; column names are in lower case, and a column of lists of numbers becomes an array (N, D).

    Raises:
        InputError: If it cannot be read, or what reads it is not installed.
    """
    return table_of(path, read_parquet_frame(path))


def read_parquet_frame(path: Path) -> Any:
    """Read a Parquet file as a frame of pandas.

    Raises:
        InputError: If it cannot be read, or what reads it is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise InputError(f"{path}: reading Parquet needs pandas and pyarrow: pip install pandas pyarrow") from None
    try:
        return pandas.read_parquet(path)
    except ImportError:
        raise InputError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from None
    except Exception as error:  # damaged files raise anything
        raise InputError(f"{path} cannot be read as Parquet ({error_message(error)[:200]})") from error


def table_of(path: Path, frame: Any) -> Table:
    """Return a pandas frame as a table.

    Raises:
        InputError: If two columns have one name.
    """
    columns: dict[str, Any] = {}
    for position, name in enumerate(frame.columns):
        column, key = frame.iloc[:, position], str(name).strip().lower()
        if key in columns:
            raise InputError(f"{path}: two columns are called {key!r}; rename one")
        values = column.to_numpy()
        if values.dtype.kind in "iufb" and key not in ("id", "label", "path", "text"):
            columns[key] = values
        elif len(values) and isinstance(values[0], list | np.ndarray):
            try:
                columns[key] = np.stack([np.asarray(value, dtype=np.float32) for value in values])
            except (TypeError, ValueError):
                raise InputError(f"{path}: column {key!r} holds lists of different lengths, or no numbers") from None
        else:
            columns[key] = ["" if missing else value for value, missing in zip(values, column.isna(), strict=True)]
    return Table(path, columns)


def _as_text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # integers beside missing values
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
