"""Labels as they are given with samples: arrays, series, lists and tensors of names or integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepal_autoal.datasets.user_data.labels import check_written_labels
from deepal_autoal.datasets.user_data.raw_samples import (
    column_values,
    is_frame,
    is_missing_value,
    is_number,
    is_of_numbers,
    is_sparse,
)
from deepal_autoal.errors import InputError
from deepal_autoal.numerics.arrays import as_array

_LARGEST_FLOAT, _LARGEST_INTEGER = 2.0**53, 2**63 - 1
TARGETS = ("label", "target", "y")
"""Names of columns that hold the labels if no other is named."""


def is_usual_target(column: str) -> bool:
    """Return whether a column holds the labels where none is named: `TARGETS`, words in any case; ``Y`` may be data."""
    return column in TARGETS or column.lower() in TARGETS[:2]


def written_labels(given: Any, what: str) -> np.ndarray:
    """Return labels as they are written: int64 (N,), or objects, texts (N,).

    Raises:
        InputError: If one is missing, or they are neither integers nor texts.
    """
    if is_sparse(given):
        as_array(given, what)  # refuses it
    shape = getattr(given, "shape", None)
    if shape is not None and len(shape) == 2 and shape[1] == 1:
        given = given.to_numpy()[:, 0] if is_frame(given) else given.reshape(-1)
    elif (shape is not None and len(shape) != 1) or isinstance(given, str | bytes):
        raise InputError(f"{what} has shape {tuple(shape or ())}; give one class a sample, (N,)")
    if callable(getattr(given, "detach", None)):
        given = given.detach().cpu().numpy()
    if isinstance(given, np.ndarray) or is_of_numbers(given):
        given = as_array(given, what)  # refuses masked labels
        if given.dtype.kind in "bi" and len(given):
            return np.asarray(given, dtype=np.int64)
        given = given if given.dtype.kind in "mM" else given.tolist()  # of dates it makes integers
    values = given.to_list() if callable(getattr(given, "to_list", None)) else list(given)
    if not values:
        raise InputError(f"{what} is empty")
    is_bool = [isinstance(value, bool | np.bool_) for value in values]
    if not any(is_bool) and all(is_number(value) or is_missing_value(value) for value in values):
        return _integers(values, what)
    texts = column_values(values, what)
    check_written_labels(["" if value is None else value for value in texts.tolist()], what)
    return texts


def _integers(values: Sequence[Any], what: str) -> np.ndarray:
    """Return numbers as int64 (N,), of which none is rounded."""
    for row, value in enumerate(values):
        if is_missing_value(value):
            raise InputError(f"{what}: the label in row {row} is missing; leave out such samples")
        is_float = isinstance(value, float | np.floating)
        if is_float and not float(value).is_integer():
            raise InputError(
                f"{what}: {value:g} is not a class: these are numbers with fractions or infinite, and labels must be "
                "integers or names"
            )
        if abs(value) > (_LARGEST_FLOAT if is_float else _LARGEST_INTEGER):
            raise InputError(
                f"{what}: label {str(value)[:40]} is too large for a class number; give names, such as its text"
            )
    return np.array([int(value) for value in values], dtype=np.int64)


def numbered_as(
    names: Sequence[str] | None, y: np.ndarray, test_names: Sequence[str] | None, y_test: np.ndarray, what: str
) -> np.ndarray:
    """Return a test part's labels in the training part's numbers, where each part has its own names of the numbers.

    Args:
        names, y: Of the training part: class names by number, if it has them, and labels.
        test_names, y_test: Of the test part.
        what: Their name in messages.

    Raises:
        InputError: If the names differ and the labels cannot be matched by them.
    """
    if names is None or test_names is None or list(names) == list(test_names) or object in (y.dtype, y_test.dtype):
        return y_test
    for labels, known, part in ((y, names, "training"), (y_test, test_names, "test")):
        outside = labels[(labels < 0) | (labels >= len(known))]
        if len(outside):
            raise InputError(
                f"{what}: label {outside[0]} of the {part} part is the number of none of its {len(known)} classes, and "
                "the parts name their classes differently"
            )
    numbers = {name: number for number, name in enumerate(names)}
    unknown = [test_names[label] for label in np.unique(y_test) if test_names[label] not in numbers]
    if unknown:
        raise InputError(
            f"{what}: the test part has samples of class {unknown[0]!r}, which is none of the training part's "
            f"({', '.join(map(str, names[:10]))}{', ...' if len(names) > 10 else ''})"
        )
    return np.array([numbers[test_names[label]] for label in y_test], dtype=np.int64)
