"""Feature tables in files: ``.csv`` and ``.parquet`` with a column of labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.decoding import IMAGE_SUFFIXES
from deepal_autoal.datasets.files.tables import read_csv, read_parquet_frame
from deepal_autoal.datasets.user_data.given_data import TARGETS, prepared_dataset, target_of
from deepal_autoal.datasets.user_data.raw_samples import COLUMNS, RawSamples, frame_samples
from deepal_autoal.datasets.user_data.written_labels import written_labels
from deepal_autoal.errors import InputError

ID, SPLIT = "id", "split"
_INTEGERS = (re.compile(r"0|-?[1-9][0-9]{0,18}"), re.compile(r"(0|-?[1-9][0-9]{0,15})\.0"))
_SPLITS = {"train", "test"}


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
    return target is not None or bool(set(TARGETS) & set(names))


def load_table(path: Path, target: str | None = None) -> Dataset:
    """Load a table of features with a column of labels.

    A column ``id`` holds the samples' names and ``split`` says ``train`` or ``test``; all others are features, which
    are prepared (see `preparation`).

    Args:
        path: A ``.csv`` or ``.parquet``.
        target: The column that holds the labels; by default ``label``, ``target`` or ``y``, whichever there is.

    Raises:
        InputError: If it cannot be read, or a column cannot be used; the message names it.
    """
    if path.suffix.lower() == ".parquet":
        frame = read_parquet_frame(path)
        names = [str(name) for name in frame.columns]
        target = target_of(names, target, str(path))
        columns: Any = {name: frame[own] for name, own in zip(names, frame.columns, strict=True)}
        x = frame_samples(frame, str(path), [own for own in frame.columns if str(own) in (target, ID, SPLIT)])
    else:
        table = read_csv(path, lower_case=False)
        target = target_of(table.names, target, str(path))
        columns = {name: table[name] for name in table.names}
        x = _features(path, {name: table[name] for name in table.names if name not in (target, ID, SPLIT)})
    if not len(x):
        raise InputError(f"{path} holds no samples")
    labels = _labels(columns[target]) if isinstance(columns[target], list) else columns[target]
    y = written_labels(labels, f"{path}: column {target!r}")
    ids = _ids(path, columns.get(ID))
    source = {"kind": "table", "path": str(path), "labels": target}
    if SPLIT not in columns:
        return prepared_dataset(path.resolve().stem, x, y, None, None, source, ids)
    splits = np.array([str(value).strip() for value in columns[SPLIT]])
    if set(splits.tolist()) - _SPLITS or len(set(splits.tolist())) < 2:
        raise InputError(
            f"{path}: column {SPLIT!r} must say train or test, both at least once; rename it if it is a feature"
        )
    train, test = np.flatnonzero(splits == "train"), np.flatnonzero(splits == "test")
    return prepared_dataset(path.resolve().stem, x.take(train), y[train], (x.take(test), y[test]), None, source,
                            None if ids is None else ids[train])  # fmt: skip


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
    """Return cells as float64 (N,) if all that are not empty are numbers, else without spaces around them."""
    stripped = [cell.strip() for cell in cells]
    try:
        return np.array([float(cell) if cell else np.nan for cell in stripped])
    except ValueError:
        return stripped


def _ids(path: Path, column: Any) -> np.ndarray | None:
    if column is None:
        return None
    ids = np.array([str(value).strip() for value in column])
    if len(np.unique(ids)) < len(ids):
        raise InputError(f"{path}: column {ID!r} names two samples alike; give each its own, or rename the column")
    return ids
