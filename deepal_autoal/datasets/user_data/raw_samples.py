"""Samples as people have them, before they are features: arrays, data frames, sparse matrices, texts, torch datasets.

`raw_samples` recognizes the form; `preparation.Preparation` makes features of it. pandas, polars and datasets are never
imported here: what is given belongs to a package that is imported already.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deepal_autoal.errors import InputError, format_error
from deepal_autoal.numerics.arrays import as_array

ARRAY, COLUMNS, SPARSE, TEXTS = "array", "columns", "sparse", "texts"
_N_REREAD = 16
_USUAL_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class RawSamples:
    """Samples of one form.

    Attributes:
        form: `ARRAY`, `COLUMNS`, `SPARSE` or `TEXTS`.
        values: The array (N, ...); the columns by name, each a float64 array with NaN for missing values or an object
            array of texts with None for missing ones; the matrix (N, D); or the list of texts.
        is_category: Of `COLUMNS`: the names of those that are categories by their type.
        dtype: Of `COLUMNS`: that of the features that are made of them, float64 or float32.
    """

    form: str
    values: Any
    is_category: frozenset[str] = frozenset()
    dtype: type[np.floating[Any]] = np.float32

    def __len__(self) -> int:
        if self.form == COLUMNS:
            return len(next(iter(self.values.values())))
        return int(self.values.shape[0]) if self.form == SPARSE else len(self.values)

    def take(self, rows: np.ndarray) -> RawSamples:
        """Return some samples, by their rows."""
        values = self.values
        if self.form == COLUMNS:
            values = {name: column[rows] for name, column in values.items()}
        elif self.form == TEXTS:
            values = [values[row] for row in rows]
        else:
            values = values[rows]
        return replace(self, values=values)


def is_frame(given: object) -> bool:
    """Return whether an object is a data frame of pandas or polars."""
    for name in ("pandas", "polars"):
        package = sys.modules.get(name)
        if package is not None and isinstance(given, getattr(package, "DataFrame", ())):
            return True
    return False


def check_is_collected(given: object, what: str) -> None:
    """Refuse a lazy frame of polars.

    Raises:
        InputError: If it is one.
    """
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(given, polars.LazyFrame):
        raise InputError(f"{what} is a LazyFrame of polars; give its .collect()")


def is_sparse(given: object) -> bool:
    """Return whether an object is a sparse matrix or array of scipy."""
    package = sys.modules.get("scipy.sparse")
    return package is not None and bool(package.issparse(given))


def is_torch_dataset(given: object) -> bool:
    """Return whether an object is a dataset of torch."""
    package = sys.modules.get("torch.utils.data")
    return package is not None and isinstance(given, package.Dataset)


def is_hugging_face(given: object) -> bool:
    """Return whether an object is a ``datasets.Dataset`` or ``DatasetDict``."""
    if isinstance(given, Mapping):
        return bool(given) and all(map(is_hugging_face, given.values()))
    return hasattr(given, "column_names") and hasattr(given, "features") and hasattr(given, "__getitem__")


def raw_samples(given: Any, what: str) -> RawSamples:
    """Return samples in one of the forms.

    Args:
        given: An array or what converts to one, a data frame, a sparse matrix, a sequence of texts, or a torch dataset,
            of whose items the first part is the sample.
        what: Their name in messages.

    Raises:
        InputError: If they are none of these, or hold something else than numbers and texts.
    """
    check_is_collected(given, what)
    if is_frame(given):
        return frame_samples(given, what)
    if is_hugging_face(given):
        raise InputError(
            f"{what} is a Hugging Face dataset; give its samples alone: the column of texts as a list, or the features "
            "as a frame (select_columns, to_pandas)"
        )
    if is_sparse(given):
        return RawSamples(SPARSE, _usable_rows(given, what))
    if is_torch_dataset(given):
        return RawSamples(ARRAY, torch_items(given, what)[0])
    if not isinstance(given, np.ndarray):
        texts = _texts(given)
        if texts is not None:
            return RawSamples(TEXTS, texts)
    elif given.ndim == 1 and given.dtype.kind in "UO" and len(given) and all(isinstance(item, str) for item in given):
        return RawSamples(TEXTS, given.tolist())
    array = as_array(given, what)
    if array.dtype == object:
        items = array.ravel().tolist()
        if array.ndim == 1 and any(isinstance(item, str) for item in items):
            row = next(row for row, item in enumerate(items) if not isinstance(item, str))
            raise InputError(f"{what} holds texts, but {items[row]!r} in row {row}; fill in or leave out such samples")
        if array.ndim == 2 and all(map(is_number, items)):
            array = array.astype(np.float64)
    return RawSamples(ARRAY, array)


def _usable_rows(matrix: Any, what: str) -> Any:
    """Return a sparse matrix by rows."""
    if matrix.ndim != 2:
        raise InputError(f"{what} is a sparse array of shape {matrix.shape}; give one row a sample, (N, D)")
    matrix = matrix.tocsr()
    with np.errstate(over="ignore"):
        is_usable = matrix.dtype.kind in "iub" or np.isfinite(matrix.data.astype(np.float32)).all()
    if not is_usable:
        raise InputError(f"{what} holds NaN, infinite or beyond-float32 values; remove or replace them")
    return matrix


def _texts(given: Any) -> list[str] | None:
    """Return a sequence of texts, such as a list or a series, as a list; None if it is something else."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        return None
    is_series = type(given).__module__.partition(".")[0] in ("pandas", "polars") and getattr(given, "ndim", 1) == 1
    if not is_series and not isinstance(given, Sequence):
        return None
    items = list(given)
    return items if items and all(isinstance(item, str) for item in items) else None


def frame_samples(frame: Any, what: str, excluded: Sequence[str] = ()) -> RawSamples:
    """Return a data frame's columns as samples; only of float64 columns are features float64.

    Raises:
        InputError: If there are no columns or rows, two have one name, or one holds neither numbers nor texts.
    """
    names = [name for name in frame.columns if name not in excluded]
    texts = [str(name) for name in names]
    if len(set(texts)) < len(texts):
        raise InputError(f"{what}: two columns are called {max(texts, key=texts.count)!r}; rename one")
    if not names or not len(frame):
        raise InputError(
            f"{what} has {len(frame)} rows and {len(names)} columns of features; give at least one of each"
        )
    columns, categories = {}, set()
    for name, text in zip(names, texts, strict=True):
        series = frame[name]
        kind = str(series.dtype).lower()
        is_category = kind.startswith(("category", "categorical", "enum"))
        columns[text] = _category_values(series) if is_category else column_values(series, f"{what}: column {text!r}")
        if is_category or kind.startswith("bool"):
            categories.add(text)
    # By the columns' types alone: the same frame with other cells has the same form.
    is_float64 = all(str(frame[name].dtype).lower() == "float64" for name in names)
    return RawSamples(COLUMNS, columns, frozenset(categories), np.float64 if is_float64 else np.float32)


def column_values(column: Any, what: str) -> np.ndarray:
    """Return a column's values: float64 with NaN for missing ones, or objects, texts with None for missing ones.

    Args:
        column: A series of pandas or polars, an array (N,), or a list.
        what: Its name in messages.

    Raises:
        InputError: If it holds something else than numbers and texts, such as dates.
    """
    kind = str(getattr(column, "dtype", "")).lower()
    if is_of_numbers(column) or (isinstance(column, np.ndarray) and column.dtype.kind == "b"):
        return np.asarray(column, dtype=np.float64)
    if kind.startswith(("date", "time", "duration", "period")):
        raise InputError(
            f"{what} holds dates or times ({kind}); give numbers, such as days since a date, or leave it out"
        )
    values = column.to_list() if callable(getattr(column, "to_list", None)) else list(column)
    kept = [None if is_missing_value(value) else value for value in values]
    present = [value for value in kept if value is not None]
    is_bool = all(isinstance(value, bool | np.bool_) for value in present)
    if not (is_bool and present) and all(map(is_number, present)):
        try:
            return np.array([math.nan if value is None else float(value) for value in kept])
        except OverflowError:
            raise InputError(f"{what} holds integers beyond what floats hold; remove or replace them") from None
    other = next((value for value in present if not isinstance(value, str) and not is_number(value)), None)
    if isinstance(other, list | tuple | np.ndarray):
        raise InputError(
            f"{what} holds lists; give embeddings alone, as an array X = np.stack(column) or the x of an .npz file, or "
            "leave it out"
        )
    if other is not None:
        raise InputError(f"{what} holds {type(other).__name__}; give numbers or texts, or leave it out")
    return np.array([None if value is None else value_text(value) for value in kept], dtype=object)


def _category_values(column: Any) -> np.ndarray:
    """Return the values of a column of categories, whatever they are, as texts, with None for missing ones."""
    values = column.to_list()
    return np.array([None if is_missing_value(value) else value_text(value) for value in values], dtype=object)


def is_of_numbers(column: object) -> bool:
    """Return whether an array or a series holds numbers by its type, as numpy has them."""
    dtype = getattr(column, "dtype", None)
    return isinstance(dtype, np.dtype) and dtype.kind in "iuf"


def is_number(value: object) -> bool:
    """Return whether a value is a number or a boolean."""
    return isinstance(value, bool | int | float | np.integer | np.floating | np.bool_)


def value_text(value: Any) -> str:
    """Return a value as a category's text: 7 of 7 and 7.0, for a column gets fractions where some are missing."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    return str(int(value)) if isinstance(value, int | np.integer) else str(value)


def is_missing_value(value: Any) -> bool:
    """Return whether a value is None, NaN or pandas' NA and NaT, of which none equals itself."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas.NA
        return True
    except ValueError:  # an array
        return False


def torch_items(dataset: Any, what: str) -> tuple[np.ndarray, list[Any]]:
    """Return the samples of a torch dataset, and the second parts of its items; empty if items have one part.

    Samples become images uint8 (N, H, W, C) or vectors float32 (N, D). Images may be PIL's, uint8 tensors (C, H, W),
    what ``ToTensor`` makes of uint8, or arrays of which one of the first and the last axis has 1, 3 or 4 channels.

    Raises:
        InputError: If it has no length, its items have other forms, or they change when they are read again, as under
            random augmentation.
    """
    try:
        number = len(dataset)
    except TypeError:
        raise InputError(
            f"{what} is a {type(dataset).__name__} without a length; give a dataset with __len__"
        ) from None
    if not number:
        raise InputError(f"{what} is empty")
    samples: list[np.ndarray] = []
    labels: list[Any] = []
    for row in range(number):
        try:
            item = dataset[row]
        except Exception as error:
            raise InputError(f"{what}: item {row} cannot be read: {format_error(error)}") from error
        parts = item if isinstance(item, tuple | list) else (item,)
        sample = _sample(parts[0], f"{what}: item {row}")
        if samples and (sample.shape != samples[0].shape or sample.dtype != samples[0].dtype):
            raise InputError(
                f"{what}: item {row} is {sample.dtype} {sample.shape}, item 0 {samples[0].dtype} {samples[0].shape}; "
                "bring all to one form: in the dataset's transform or, of Hugging Face, by "
                "map(lambda item: {'image': item['image'].convert('RGB').resize((64, 64))})"
            )
        samples.append(sample)
        if len(parts) > 1:
            labels.append(_label(parts[1], f"{what}: item {row}"))
    for row in np.unique(np.linspace(0, number - 1, _N_REREAD).astype(int)).tolist():
        again = dataset[row]
        again = again[0] if isinstance(again, tuple | list) else again
        if not np.array_equal(_sample(again, what), samples[row], equal_nan=True):
            raise InputError(
                f"{what}: item {row} is another when it is read again: leave out random augmentation; runs have theirs"
            )
    return np.stack(samples), labels


def _label(given: Any, what: str) -> Any:
    if not hasattr(given, "item"):
        return given
    try:
        return given.item()
    except (RuntimeError, ValueError):
        raise InputError(f"{what}: its label has shape {tuple(given.shape)}; give one class a sample") from None


def _sample(given: Any, what: str) -> np.ndarray:
    """Return a sample as uint8 (H, W, C) or float32 (D,)."""
    if hasattr(given, "getbands"):
        return _pil_pixels(given, what)
    if isinstance(given, dict):
        raise InputError(f"{what} is a dict; give items (sample, label)")
    array = as_array(given, what)
    if array.ndim <= 1 and array.dtype.kind in "iufb":
        return array.reshape(-1).astype(np.float32)
    if array.ndim == 2:
        array = array[np.newaxis]
    elif array.ndim == 3 and isinstance(given, np.ndarray):
        array = _channels_first(array, what)
    if array.ndim == 3 and array.dtype.kind == "f":  # (C, H, W) in [0, 1]
        pixels = np.rint(array * 255)
        if array.min() < 0 or array.max() > 1 or np.abs(array * 255 - pixels).max() > 1e-2:
            raise InputError(
                f"{what} is an image of floats that are no multiples of 1/255: leave Normalize and augmentation out of "
                "the transform, as runs normalize by the pool themselves; ToTensor may stay"
            )
        array = pixels.astype(np.uint8)
    if array.ndim == 3 and array.dtype == np.uint8:
        return np.ascontiguousarray(array.transpose(1, 2, 0))
    raise InputError(f"{what} is {array.dtype} {array.shape}; give an image (C, H, W) or a vector (D,)")


def _pil_pixels(image: Any, what: str) -> np.ndarray:
    """Return a PIL image as image files are read: uint8 (H, W, 1) if it is gray, else RGB, uint8 (H, W, 3)."""
    mode = image.mode
    if mode.startswith(("I", "F")):
        raise InputError(f"{what} is a PIL image of mode {mode}, which has more than 8 bits; convert it to L")
    if mode in ("P", "PA"):
        image = image.convert("RGBA")  # Pillow warns if a palette's transparency is dropped directly
    try:
        pixels = np.asarray(image.convert("L" if mode in ("1", "L", "LA", "La") else "RGB"))
    except ValueError as error:
        raise InputError(f"{what} is a PIL image of mode {mode}, which does not convert to RGB ({error})") from error
    return pixels.reshape(*pixels.shape[:2], -1)


def _channels_first(array: np.ndarray, what: str) -> np.ndarray:
    """Return an image of numpy as (C, H, W), as tensors are."""
    is_first, is_last = (array.shape[axis] in _USUAL_CHANNELS for axis in (0, 2))
    if is_first == is_last:
        raise InputError(
            f"{what} is an array {array.shape}, of which the channels may be the first or the last axis; give PIL "
            "images, or tensors (C, H, W)"
        )
    return array if is_first else array.transpose(2, 0, 1)
