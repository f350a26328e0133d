"""Feature tables in files: ``.csv`` and ``.parquet`` with a column of labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.decoding import IMAGE_SUFFIXES
from deepal_autoal.datasets.files.tables import read_csv, read_parquet_frame
from deepal_autoal.datasets.user_data.given_data import frame_dataset, roles_of, table_dataset, target_of
from deepal_autoal.datasets.user_data.labels import is_missing
from deepal_autoal.datasets.user_data.raw_samples import COLUMNS, RawSamples
from deepal_autoal.datasets.user_data.written_labels import is_usual_target, written_labels
from deepal_autoal.errors import InputError

_INTEGERS = (re.compile(r"0|-?[1-9][0-9]{0,18}"), re.compile(r"(0|-?[1-9][0-9]{0,15})\.0"))


def is_feature_table(path: Path, target: str | None) -> bool:
    """Return whether a ``.csv`` is a table of features, rather than one that lists image files.

    It has no column ``path``, names its labels, and its cells are no names of image files.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            header, row = file.readline(), file.readline()
    except (OSError, UnicodeDecodeError):
        return target is not None
    mark = max(",;\t", key=header.count)
    names = [name.strip().strip('"') for name in header.split(mark)]
    cells = [cell.strip().strip('"').lower() for cell in row.split(mark)]
    if "path" in map(str.lower, names) or any(cell.endswith(tuple(IMAGE_SUFFIXES)) for cell in cells):
        return False
    return target is not None or any(map(is_usual_target, names))


def load_table(path: Path, target: str | None = None, text_model: str | None = None) -> Dataset:
    """Load a table of features with a column of labels.

    A column ``id``, in any case, holds the samples' names and ``split`` says ``train`` or ``test``; all others are
    features, which are prepared (see `preparation`).

    Args:
        path: A ``.csv`` or ``.parquet``.
        target: The column that holds the labels; by default ``label``, ``target`` or ``y``, whichever there is.
        text_model: What embeds texts (see `resolve_text_model`).

    Raises:
        InputError: If it cannot be read, or a column cannot be used; the message names it.
    """
    name = path.resolve().stem
    source = {"kind": "table", "path": str(path)}
    if path.suffix.lower() == ".parquet":
        frame = read_parquet_frame(path)
        target = target_of([str(column) for column in frame.columns], target, str(path))
        return frame_dataset(frame, target, name, {**source, "labels": target}, str(path), text_model)
    table = read_csv(path, lower_case=False)
    target = target_of(table.names, target, str(path))
    roles = roles_of(table.names, target, str(path))
    others = (target, *roles.values())
    x = _features(path, {column: table[column] for column in table.names if column not in others})
    if not len(x):
        raise InputError(f"{path} holds no samples")
    y = written_labels(_labels(table[target]), f"{path}: column {target!r}")
    columns = {role: (column, table[column]) for role, column in roles.items()}
    return table_dataset(name, x, y, columns, {**source, "labels": target}, str(path), text_model)


def _features(path: Path, columns: Mapping[str, Sequence[str]]) -> RawSamples:
    if not columns or "" in columns:
        unnamed = "a column has no name; name it, or leave it out (pandas: index=False)"
        raise InputError(f"{path}: {unnamed if columns else 'no column holds features beside the labels'}")
    values: dict[str, np.ndarray] = {}
    for name, cells in columns.items():
        read = _as_numbers(cells)
        if isinstance(read, list) and isinstance(_as_numbers([cell.replace(",", ".") for cell in read]), np.ndarray):
            raise InputError(f"{path}: column {name!r} holds numbers with decimal commas; save them with points")
        values[name] = read if isinstance(read, np.ndarray) else np.array([cell or None for cell in read], dtype=object)
    return RawSamples(COLUMNS, values)


def _labels(cells: Sequence[str]) -> list[str] | list[int]:
    """Return cells as integers if all are written as Python or, of floats, pandas writes them, else as texts."""
    stripped = [cell.strip() for cell in cells]
    for form in _INTEGERS:
        if all(map(form.fullmatch, stripped)):
            integers = [int(cell.partition(".")[0]) for cell in stripped]
            return integers if max(map(abs, integers)) < 1 << 63 else stripped
    return stripped


def _as_numbers(cells: Sequence[str]) -> np.ndarray | list[str]:
    """Return cells as float64 (N,) if all that are not missing are numbers, else without spaces around them."""
    stripped = [cell.strip() for cell in cells]
    try:
        return np.array([np.nan if cell in ("", "?") or is_missing(cell) else _number(cell) for cell in stripped])
    except ValueError:
        return stripped


def _number(cell: str) -> float:
    if "_" in cell:
        raise ValueError("Python's separator of digits; elsewhere 1_0 is no number")
    return float(cell)
