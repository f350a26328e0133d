"""Datasets of Hugging Face's ``datasets``, of which only the documented interface is used; nothing is imported."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepal_autoal.datasets.user_data.raw_samples import (
    ARRAY,
    COLUMNS,
    RawSamples,
    column_values,
    raw_samples,
    torch_items,
)
from deepal_autoal.datasets.user_data.written_labels import is_usual_target, numbered_as, written_labels
from deepal_autoal.errors import InputError

_TEST_SPLITS = ("test", "validation")
_ARRAYS = ("Array2D", "Array3D")
Part = tuple[RawSamples, np.ndarray]

logger = logging.getLogger(__name__)


def hugging_face_parts(given: Any, target: str | None, name: str) -> tuple[Part, Part | None, Sequence[str] | None]:
    """Return samples with their labels, those of the test part if there is one, and the names of the classes.

    Of a ``DatasetDict``, ``train`` is the pool and ``test``, or else ``validation``, the test part. The labels are the
    column ``target``, or else the only `ClassLabel`. The samples are an image column, or all other columns.

    Raises:
        InputError: If parts are missing, or it is not clear which columns hold labels and samples.
    """
    test = None
    if isinstance(given, Mapping):
        if "train" not in given:
            raise InputError(f"{name} has the splits {', '.join(map(str, given))}, but no train; give one of them")
        test = next((given[split] for split in _TEST_SPLITS if split in given), None)
        given = given["train"]
    target = _target(given, target, name)
    names, (x, y) = _class_names(given, target), _part(given, target, name)
    held = None
    if test is not None:
        if target not in test.column_names:
            raise InputError(f"{name}: the test part has no column {target!r}, which holds the labels")
        x_test, y_test = _part(test, target, f"{name}: the test part")
        held = x_test, numbered_as(names, y, _class_names(test, target), y_test, name)
    return (x, y), held, names


def _class_names(dataset: Any, target: str) -> list[str] | None:
    return list(getattr(dataset.features[target], "names", None) or ()) or None


def _target(dataset: Any, target: str | None, name: str) -> str:
    columns = list(dataset.column_names)
    if target is not None:
        if target not in columns:
            raise InputError(f"{name} has no column {target!r}; its columns are {', '.join(columns)}")
        return target
    classes = [column for column in columns if getattr(dataset.features[column], "names", None)]
    found = classes if len(classes) == 1 else list(filter(is_usual_target, columns))
    if len(found) != 1:
        raise InputError(
            f"{name}: say which column holds the labels: target='...'; its columns are {', '.join(columns)}"
        )
    return str(found[0])


def _part(dataset: Any, target: str, name: str) -> Part:
    dataset = dataset.with_format(None)
    columns = [column for column in dataset.column_names if column != target]
    labels = written_labels(list(dataset[target]), f"{name}: column {target!r}")
    if labels.dtype != object and (labels < 0).any():
        raise InputError(f"{name}: column {target!r} holds {labels.min()}, which stands for no label; filter it")
    for column in columns:
        if getattr(dataset.features[column], "names", None):
            logger.warning(
                "%s: column %r holds classes, too, and is taken as a feature; if it tells the label, leave it out: "
                "remove_columns([%r])", name, column, column,
            )  # fmt: skip
    images = [column for column in columns if type(dataset.features[column]).__name__ == "Image"]
    if len(images) > 1:
        raise InputError(f"{name} has several image columns ({', '.join(images)}); keep one: select_columns([...])")
    if images:
        return RawSamples(ARRAY, torch_items(_Column(dataset, images[0]), name)[0]), labels
    if len(columns) == 1 and type(dataset.features[columns[0]]).__name__ in _ARRAYS:
        return RawSamples(ARRAY, _of_one_shape(dataset, columns[0], name)), labels
    if len(columns) == 1:
        return raw_samples(list(dataset[columns[0]]), f"{name}: column {columns[0]!r}"), labels
    values = {column: column_values(list(dataset[column]), f"{name}: column {column!r}") for column in columns}
    if not values:
        raise InputError(f"{name} has no column but {target!r}")
    return RawSamples(COLUMNS, values), labels


def _of_one_shape(dataset: Any, column: str, name: str) -> np.ndarray:
    """Return a column of arrays, whose first dimension may be dynamic."""
    rows = list(dataset[column])
    missing = next((row for row, value in enumerate(rows) if value is None), None)
    if missing is not None:
        raise InputError(f"{name}: column {column!r} has no array in row {missing}; leave out such samples")
    arrays = [np.asarray(value, dtype=dataset.features[column].dtype) for value in rows]
    other = next((row for row, array in enumerate(arrays) if array.shape != arrays[0].shape), None)
    if other is not None:
        raise InputError(
            f"{name}: column {column!r} has shape {arrays[other].shape} in row {other} and {arrays[0].shape} in row 0; "
            "bring all to one shape"
        )
    return np.stack(arrays)


class _Column:
    """One column as a dataset: images are decoded when they are read."""

    def __init__(self, dataset: Any, column: str) -> None:
        self._dataset = dataset
        self._column = column

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, row: int) -> tuple[Any]:
        return (self._dataset[row][self._column],)
