"""Tables of numbers in files (``.npy``, ``.npz``, ``.csv``, ``.parquet``), and lists of labeled rows (``.csv``)."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from deepal_autoal.datasets.files.npz_members import member_names, open_archive, read_members, verify_member
from deepal_autoal.datasets.files.tables import delimiter_of
from deepal_autoal.datasets.user_data.labels import is_missing
from deepal_autoal.errors import InputError, error_message
from deepal_autoal.files import refuse_special

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENDINGS = (".npy", ".npz", ".csv", ".parquet")


def read_numbers(path: Path) -> tuple[NDArray[Any], list[str] | None]:
    """Read a file that holds one table of numbers.

    A ``.npy`` is mapped: its values are read when they are used, and writes do not reach the file. An ``.npz`` holds
    one array, or several of which one is called ``x``. In a ``.csv`` the first line names the columns unless it holds
    numbers other than 0, 1, 2, ...; where it may be either, it is refused. A ``.parquet`` needs pandas.

    Returns:
        An array, and for a table the names of its columns, if they have some.

    Raises:
        InputError: If it cannot be read, is of another kind, or holds anything else than numbers.
    """
    ending = path.suffix.lower()
    with _reading(path):
        refuse_special(path)
        if ending == ".npy":
            try:
                return npy.open_memmap(path, mode="c"), None
            except ValueError as error:
                if "Python objects" in str(error):
                    raise InputError(f"{path} holds Python objects, not numbers: save an array of floats") from error
                raise
        if ending == ".npz":
            return _read_archive(path), None
        if ending == ".csv":
            return _read_csv(path)
        if ending == ".parquet":
            return _read_parquet(path)
    raise InputError(f"{path}: give a file that ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")


def read_labeled(path: Path) -> tuple[NDArray[np.int64], list[str] | None]:
    """Read a ``.csv`` with a column ``index``, and perhaps ``label``; other columns are ignored.

    Returns:
        Row numbers, int64 (M,), and their labels as they are written, if there is such a column.

    Raises:
        InputError: If it cannot be read, has no column ``index``, or a row lacks a row number or a label; the message
            names the line.
    """
    with _reading(path):
        refuse_special(path)
        with open(path, encoding="utf-8-sig", newline="") as file:
            delimiter = delimiter_of(file.readline())
            file.seek(0)
            rows = csv.DictReader(file, delimiter=delimiter)
            columns = [name.strip() for name in rows.fieldnames or ()]
            if columns.count("index") != 1 or columns.count("label") > 1:
                raise InputError(f"{path}: the first line is {','.join(columns)!r}; write it as index or index,label")
            rows.fieldnames = columns
            indices: list[int] = []
            labels: list[str] = []
            for row in rows:
                line = f"{path}, line {rows.line_num}"
                written = (row["index"] or "").strip()
                if not written.isascii() or not written.isdigit() or len(written) > 18:
                    raise InputError(f"{line}: index {written!r} is not a row number; count the rows from 0")
                indices.append(int(written))
                if "label" in columns:
                    labels.append((row["label"] or "").strip())
                    if not labels[-1] or is_missing(labels[-1]):
                        raise InputError(f"{line}: the label is missing; give it, or leave out the row")
    return np.array(indices, dtype=np.int64), labels if "label" in columns else None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever is raised because a file is damaged into an `InputError`."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error_message(error)}") from error
    except Exception as error:  # damaged files raise anything
        raise InputError(f"cannot read {path}: {error_message(error)}") from error


def _read_archive(path: Path) -> NDArray[Any]:
    with open_archive(path) as archive:
        members = member_names(path, archive)
        name = "x" if "x" in members else next(iter(members), "x")
        if name not in members or (name != "x" and len(members) > 1):
            raise InputError(f"{path} holds {', '.join(members) or 'nothing'}; save one array, or call it x")
        array = read_members(path, archive, {name: members[name]})[name]
        if isinstance(array, np.memmap):
            verify_member(archive, members[name])
        return array


def _read_csv(path: Path) -> tuple[NDArray[np.float64], list[str] | None]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        delimiter = delimiter_of(file.readline())
        file.seek(0)
        first = [cell.strip() for cell in next(csv.reader(file, delimiter=delimiter), [])]
        is_counted = first == [str(number) for number in range(len(first))]
        has_names = is_counted or not all(map(_is_number, first))
        if not first:
            raise InputError(f"{path} is empty; write a row of numbers for each sample")
        if not all(first):
            raise InputError(f"{path}: a column has no name, as an index does; leave it out (pandas: index=False)")
        if not has_names:
            file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a table without rows, which the caller refuses
            values = np.loadtxt(file, delimiter=delimiter, comments=None, quotechar='"', ndmin=2)
    if has_names and len(values) and len(first) != values.shape[1]:
        raise InputError(f"{path}: the first line names {len(first)} columns, but there are {values.shape[1]}")
    if is_counted and len(first) <= 2 and (values == np.trunc(values)).all():
        raise InputError(
            f"{path}: its first line, {','.join(first)}, may be names or a row; write a line of words above it"
        )
    return values, first if has_names else None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_parquet(path: Path) -> tuple[NDArray[Any], list[str]]:
    try:
        import pandas

        frame = pandas.read_parquet(path)
    except ImportError:
        raise InputError(
            f"{path}: reading .parquet needs pandas and pyarrow: pip install pandas pyarrow; or save an array (.npy)"
        ) from None
    for name, kind in zip(frame.columns, frame.dtypes, strict=True):
        if kind.kind not in "fiu":
            raise InputError(f"{path}: column {name!r} holds {kind}, not numbers; leave it out")
    return frame.to_numpy(), [str(name) for name in frame.columns]
