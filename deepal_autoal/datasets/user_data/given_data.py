"""Data that are given as Python objects: `(X, y)`, data frames, torch and Hugging Face datasets."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.splits import HELD_OUT_NOTE, held_out_split
from deepal_autoal.datasets.user_data.hugging_face import hugging_face_parts
from deepal_autoal.datasets.user_data.labels import encode_integers, encode_names
from deepal_autoal.datasets.user_data.preparation import Preparation
from deepal_autoal.datasets.user_data.raw_samples import (
    ARRAY,
    RawSamples,
    check_is_collected,
    frame_samples,
    is_frame,
    is_hugging_face,
    is_sparse,
    is_torch_dataset,
    raw_samples,
    torch_items,
)
from deepal_autoal.datasets.user_data.written_labels import is_usual_target, numbered_as, written_labels
from deepal_autoal.errors import InputError
from deepal_autoal.training.samples import as_samples

WHAT_TO_GIVE = (
    "give a registered name or a path; (X, y) or (X, y, X_test, y_test), where X is an array, a data frame, a scipy "
    "sparse matrix or a list of texts, and y holds class names or integers; a pandas or polars frame with "
    "target='column'; a torch dataset of (sample, label), or a pair (train, test) of them; a Hugging Face dataset; or "
    "a deepal_autoal.Dataset"
)
ID, SPLIT = "id", "split"
"""Names of columns, in any case, that name the samples and say ``train`` or ``test``."""

logger = logging.getLogger(__name__)


def dataset_of(given: Any, target: str | None = None, name: str = "data", text_model: str | None = None) -> Dataset:
    """Return what is given as a dataset.

    Without a test part, 20 % are held out by a fixed stream, as of files.

    Args:
        given: See `WHAT_TO_GIVE`; a `Dataset` is returned as it is.
        target: Of a data frame or Hugging Face dataset: the column that holds the labels; by default ``label``,
            ``target`` or ``y``, whichever there is.
        name: The dataset's name.
        text_model: What embeds texts (see `resolve_text_model`).

    Raises:
        InputError: If it is nothing of this, or cannot be used; the message shows the accepted forms.
    """
    if isinstance(given, Dataset):
        if target is not None:
            raise InputError(f"target={target!r}: dataset {given.name!r} has its labels already; leave it out")
        return given
    check_is_collected(given, name)
    source = {"kind": type(given).__name__}
    if is_frame(given):
        return frame_dataset(given, target, name, source, text_model=text_model)
    x, y, test, class_names = _parts(given, target, name)
    return prepared_dataset(name, x, y, test, class_names, source, text_model=text_model)


def frame_dataset(
    frame: Any, target: str | None, name: str, source: Mapping[str, str], what: str | None = None,
    text_model: str | None = None,
) -> Dataset:  # fmt: skip
    """Return the dataset of a data frame with a column of labels (see `table_dataset`).

    Args:
        frame: Of pandas or polars.
        target: The column of labels, as in `dataset_of`.
        name, source: The dataset's name, and where it came from.
        what: Its name in messages; by default ``name``.
        text_model: As in `dataset_of`.

    Raises:
        InputError: If it cannot be used.
    """
    what = what or name
    columns = [str(column) for column in frame.columns]
    target = target_of(columns, target, what)
    roles = roles_of(columns, target, what)
    own = dict(zip(columns, frame.columns, strict=True))
    x = frame_samples(frame, what, [own[column] for column in (target, *roles.values())])
    y = written_labels(frame[own[target]], f"{what}: column {target!r}")
    return table_dataset(name, x, y, {role: (column, list(frame[own[column]])) for role, column in roles.items()},
                         source, what, text_model)  # fmt: skip


def roles_of(columns: Sequence[str], target: str, what: str) -> dict[str, str]:
    """Return which columns name samples (`ID`) and say whether they are training or test samples (`SPLIT`).

    Raises:
        InputError: If two columns have one role.
    """
    roles = {}
    for role in (ID, SPLIT):
        found = [column for column in columns if column.lower() == role and column != target]
        if len(found) > 1:
            raise InputError(f"{what}: the columns {', '.join(map(repr, found))} are both {role!r}; rename one")
        if found:
            roles[role] = found[0]
    return roles


def table_dataset(
    name: str, x: RawSamples, y: np.ndarray, columns: Mapping[str, tuple[str, Sequence[Any]]],
    source: Mapping[str, str], what: str, text_model: str | None = None,
) -> Dataset:  # fmt: skip
    """Return the dataset of a table's features and labels.

    Args:
        name: The dataset's name.
        x, y: Samples, and their labels as `written_labels` returns them.
        columns: By role, `ID` or `SPLIT`: the column's name and its values.
        source: Where the data came from, for the record.
        what: The table's name in messages.
        text_model: As in `dataset_of`.

    Raises:
        InputError: If two samples have one name, or a split is neither ``train`` nor ``test``.
    """
    ids = None
    if ID in columns:
        column, values = columns[ID]
        ids = np.array([str(value).strip() for value in values])
        if len(np.unique(ids)) < len(ids):
            raise InputError(
                f"{what}: column {column!r} names two samples alike; give each its own, or rename the column"
            )
    if SPLIT not in columns:
        return prepared_dataset(name, x, y, None, None, source, ids, text_model)
    column, values = columns[SPLIT]
    train, test = _split_rows(values, column, what)
    return prepared_dataset(name, x.take(train), y[train], (x.take(test), y[test]), None, source,
                            None if ids is None else ids[train], text_model)  # fmt: skip


def prepared_dataset(
    name: str, x: RawSamples, y: np.ndarray, test: tuple[RawSamples, np.ndarray] | None,
    class_names: Sequence[str] | None, source: Mapping[str, str], ids: np.ndarray | None = None,
    text_model: str | None = None,
) -> Dataset:  # fmt: skip
    """Return the dataset of samples and written labels: held out, prepared and encoded.

    Args:
        name: The dataset's name.
        x, y: Samples, and their labels as `written_labels` returns them.
        test: Those of the test part; without it, 20 % are held out.
        class_names: By number, if they are known.
        source: Where the data came from, for the record.
        ids: Names of the samples, str (N,).
        text_model: As in `dataset_of`.

    Raises:
        InputError: If they do not fit each other, or cannot be used.
    """
    x_test, y_test = test if test is not None else (x, y)
    for samples, labels, which in ((x, y, "X"), (x_test, y_test, "X_test")):
        if len(samples) != len(labels):
            raise InputError(f"{name}: {which} has {len(samples)} samples, but there are {len(labels)} labels")
    rows = None
    if test is None:
        rows, test_rows = held_out_split(len(x), name)
        x, x_test, y, y_test = x.take(rows), x.take(test_rows), y[rows], y[test_rows]
        ids = None if ids is None else ids[rows]
    preparation = Preparation(x, name, text_model)
    y_train, y_held, names = _encoded(y, y_test, class_names, name)
    x_train, x_held = (as_samples(preparation.transform(part, is_kept=True), f"{name}: {which}")
                       for part, which in ((x, "X"), (x_test, "X_test")))  # fmt: skip
    note = "given" if test is not None else HELD_OUT_NOTE
    return Dataset(name, x_train, y_train, x_held, y_held, names, source={**source, "test split": note}, ids_train=ids,
                   rows_train=rows if ids is None else None, is_embeddings=preparation.is_embeddings,
                   preparation=preparation.description, text_model=preparation.text_model)  # fmt: skip


Parts = tuple[RawSamples, np.ndarray, "tuple[RawSamples, np.ndarray] | None", Sequence[str] | None]


def _parts(given: Any, target: str | None, name: str) -> Parts:
    """Return samples and written labels, those of the test part if there is one, and class names if they are known."""
    if is_hugging_face(given):
        train, test, class_names = hugging_face_parts(given, target, name)
        return *train, test, class_names
    if target is not None:
        raise InputError(
            f"target={target!r} names a column of a data frame, and this is {type(given).__name__}; {WHAT_TO_GIVE}"
        )
    if is_torch_dataset(given):
        return *_of_torch(given, name), None, _class_names(given)
    if isinstance(given, tuple | list):
        if len(given) == 2 and all(map(is_torch_dataset, given)):
            (x, y), (x_test, y_test) = _of_torch(given[0], name), _of_torch(given[1], f"{name}: the test part")
            names, test_names = map(_class_names, given)
            return x, y, (x_test, numbered_as(names, y, test_names, y_test, name)), names
        if len(given) in (2, 4) and not any(map(_is_single, given)):
            x, y, *rest = given
            for labels, which in zip((y, *rest[1:]), ("y", "y_test"), strict=False):
                if labels is None:
                    raise InputError(f"{name}: {which} is None; give the class of each sample")
            held = (
                (raw_samples(rest[0], f"{name}: X_test"), written_labels(rest[1], f"{name}: y_test")) if rest else None
            )
            return raw_samples(x, f"{name}: X"), written_labels(y, f"{name}: y"), held, None
        raise InputError(f"the dataset is a {type(given).__name__} of {len(given)}; {WHAT_TO_GIVE}")
    raise InputError(f"the dataset is {type(given).__name__}; {WHAT_TO_GIVE}")


def labeled_parts(given: Any, target: str | None, name: str) -> Parts | None:
    """Return the parts of a pool that is given with its labels; None for samples alone.

    Args:
        given: ``(X, y)`` or ``(X, y, X_test, y_test)``, a frame with ``target``, a torch dataset of (sample, label) or
            a pair (train, test) of them, a Hugging Face dataset; anything else is samples alone.
        target: As in `dataset_of`; of a data frame there is none by default.
        name: The pool's name in messages.

    Returns:
        The pool's samples, their labels as `written_labels` returns them, those of the test part if there is one, and
        class names if the data have some.

    Raises:
        InputError: If they do not fit each other, or cannot be used.
    """
    parts: Parts
    if is_frame(given) and target is not None:
        parts = _frame_parts(given, target, name)
    elif is_frame(given) or (not is_hugging_face(given) and not _is_labeled(given)):
        if target is not None:
            raise InputError(f"target={target!r} names a column of a data frame, and {name} is {type(given).__name__}")
        return None
    elif is_torch_dataset(given):
        samples, labels = torch_items(given, name)
        try:
            y = written_labels(labels, f"{name}: labels")
        except InputError:  # none, or something else, which a pool may have
            return None
        parts = RawSamples(ARRAY, samples), y, None, _class_names(given)
    else:
        parts = _parts(given, target, name)
    for which, part in (("X", parts[:2]), ("X_test", parts[2])):
        if part is not None and len(part[0]) != len(part[1]):
            raise InputError(f"{name}: {which} has {len(part[0])} samples, but there are {len(part[1])} labels")
    return parts


def _is_labeled(given: Any) -> bool:
    """Return whether this is a torch dataset, a pair of them, or a tuple of samples and labels; not one of rows."""
    if is_torch_dataset(given):
        return True
    if not isinstance(given, tuple) or len(given) not in (2, 4) or any(map(_is_single, given)):
        return False
    first = given[0]
    if isinstance(first, list | tuple):
        return bool(first) and hasattr(first[0], "__len__")
    is_of_texts = getattr(getattr(first, "dtype", None), "kind", "") in ("U", "O")
    return is_torch_dataset(first) or is_of_texts or len(getattr(first, "shape", ())) > 1


def _frame_parts(frame: Any, target: str, name: str) -> Parts:
    columns = [str(column) for column in frame.columns]
    target = target_of(columns, target, name)
    roles = roles_of(columns, target, name)
    own = dict(zip(columns, frame.columns, strict=True))
    x = frame_samples(frame, name, [own[column] for column in (target, *roles.values())])
    y = written_labels(frame[own[target]], f"{name}: column {target!r}")
    if SPLIT not in roles:
        return x, y, None, None
    train, test = _split_rows(list(frame[own[roles[SPLIT]]]), roles[SPLIT], name)
    return x.take(train), y[train], (x.take(test), y[test]), None


def _split_rows(values: Sequence[Any], column: str, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the training and the test rows that a column says."""
    splits = np.array([str(value).strip() for value in values])
    if set(splits.tolist()) != {"train", "test"}:
        raise InputError(
            f"{what}: column {column!r} must say train or test, both at least once; rename it if it is a feature"
        )
    return np.flatnonzero(splits == "train"), np.flatnonzero(splits == "test")


def _is_single(part: Any) -> bool:
    """Return whether a part of a tuple cannot hold a value for each sample; None is labels that are missing."""
    if part is None or is_sparse(part) or is_torch_dataset(part):
        return False
    return not hasattr(part, "__len__") or isinstance(part, str | bytes)


def target_of(columns: Sequence[str], target: str | None, name: str) -> str:
    """Return the column that holds the labels.

    Raises:
        InputError: If there is none of this name, or it is not clear.
    """
    found = [column for column in columns if (is_usual_target(column) if target is None else column == str(target))]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(columns[:20])
    if len(found) > len(set(found)):
        raise InputError(f"{name}: two columns are called {found[0]!r}; rename one")
    if target is not None:
        raise InputError(f"{name} has no column {target!r}; its columns are {shown}")
    raise InputError(f"{name}: say which column holds the labels: target='...' (--target); its columns are {shown}")


def _of_torch(dataset: Any, name: str) -> tuple[RawSamples, np.ndarray]:
    samples, labels = torch_items(dataset, name)
    if not labels:
        raise InputError(
            f"{name}: the items of this {type(dataset).__name__} have no labels; give items (sample, label)"
        )
    return RawSamples(ARRAY, samples), written_labels(labels, f"{name}: labels")


def _class_names(dataset: Any) -> Sequence[str] | None:
    names = getattr(dataset, "classes", None)
    if isinstance(names, list | tuple) and names and all(isinstance(item, str) for item in names):
        return list(names)
    return None


def _encoded(
    y: np.ndarray, y_test: np.ndarray, class_names: Sequence[str] | None, name: str
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    if (y.dtype == object) != (y_test.dtype == object):
        raise InputError(
            f"{name}: y holds {'names' if y.dtype == object else 'integers'}, but y_test does not; give both alike"
        )
    if y.dtype == object:
        return encode_names(y.tolist(), y_test.tolist(), name)
    if class_names is not None and min(y.min(), y_test.min()) >= 0 and max(y.max(), y_test.max()) < len(class_names):
        return y, y_test, tuple(class_names)
    return encode_integers(y, y_test, name)
