"""User data as an ``.npz`` of images or feature vectors."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from pathlib import Path

import numpy as np

from deepal_autoal.datasets.base import FEATURE_DTYPES, Dataset, NonFiniteError
from deepal_autoal.datasets.files.array_cache import ArrayBlocks, cached_array
from deepal_autoal.datasets.files.image_files import file_state
from deepal_autoal.datasets.files.npz_members import member_names, open_archive, read_members, verify_member
from deepal_autoal.datasets.splits import HELD_OUT_NOTE, held_out_split
from deepal_autoal.datasets.user_data.labels import check_written_labels, encode_integers, encode_names
from deepal_autoal.errors import InputError
from deepal_autoal.numerics.row_blocks import read_rows
from deepal_autoal.training.samples import check_channels_last

ARRAYS = ("x", "y", "x_test", "y_test", "ids", "ids_test", "class_names", "kind", "skipped", "preparation",
          "text_model")  # fmt: skip
EMBEDDINGS = "embeddings"
PATCHES_PREFIX = "patches_"
"""Arrays whose names begin with this are the dictionary with which embeddings were made; not part of the dataset."""
_EMBEDDINGS_KINDS = (EMBEDDINGS, EMBEDDINGS.encode(), [EMBEDDINGS], [EMBEDDINGS.encode()])
IN_MEMORY_BYTES = 256 << 20
"""Up to this size, memory-mapped samples are split into training and test parts in memory."""

_CACHE_FORMAT = "npz split 1"

logger = logging.getLogger(__name__)


def load_npz(path: Path) -> Dataset:
    """Load an ``.npz`` of images or feature vectors.

    It holds ``x``, ``y`` and optionally ``x_test``, ``y_test``, the samples' names, ``ids`` and ``ids_test``, and
    ``class_names``, one string per class, which ``y`` and ``y_test`` then number from 0. A string ``kind`` of
    ``"embeddings"`` marks the vectors as a model's embeddings; any other kind is ignored with a warning. ``skipped``
    names files that were left out when the arrays were computed, a string ``preparation`` says in JSON how, and
    ``text_model`` by what texts were embedded, for the record.

    ``x`` holds images, uint8 (N, H, W) or (N, H, W, C), or vectors, float (N, D); ``y`` integers or strings (N,).
    Uncompressed members (`numpy.savez`) are memory-mapped. Without ``x_test`` a fifth is held out; if ``x`` is mapped
    and larger than `IN_MEMORY_BYTES`, the split is copied, block by block, into the cache folder, so both parts are
    mapped too, and from then on ``x`` itself is not read any more. Pickled data are never read.

    Raises:
        InputError: If the file cannot be read, or an array is missing or malformed; the message names both.
    """
    arrays = _read(path)
    for name in ARRAYS[:2]:
        if name not in arrays:
            raise InputError(f"{path} holds no array {name}; save it with x and y (and optionally x_test and y_test)")
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise InputError(f"{path} holds only one of x_test and y_test; save both or neither")
    for name in ("y", "y_test"):
        if name in arrays and not arrays[name].ndim:
            raise InputError(f"{path}: {name} is a single value; save one label per sample, shape (N,)")
    x = _inputs(path, "x", arrays["x"])
    given = "x_test" in arrays
    x_test = _inputs(path, "x_test", arrays["x_test"]) if given else x[:0]
    y_test = arrays["y_test"] if given else arrays["y"][:0]
    if "class_names" in arrays:
        class_names = _class_names(path, arrays["class_names"])
        y, y_test = (
            _numbered(path, name, labels, class_names) for name, labels in (("y", arrays["y"]), ("y_test", y_test))
        )
    else:
        y, y_test, class_names = _labels(path, arrays["y"], y_test)
    for name, inputs, labels in (("x", x, y), ("x_test", x_test, y_test)):
        if len(inputs) != len(labels):
            raise InputError(
                f"{path}: {name} has {len(inputs)} samples but {name.replace('x', 'y', 1)} {len(labels)} labels; "
                "save one label per sample"
            )
    if given and (x.dtype != x_test.dtype or x.shape[1:] != x_test.shape[1:]):
        raise InputError(f"{path}: x is {_form(x)} but x_test is {_form(x_test)}; use one dtype and sample shape")
    ids, ids_test = (
        _ids(path, name, arrays.get(name), len(y if name == "ids" else y_test)) for name in ("ids", "ids_test")
    )
    rows_train = None
    rows: dict[str, tuple[str, np.ndarray | None]] = {"x_train": ("x", None), "x_test": ("x_test", None)}
    if not given:
        train_rows, test_rows = held_out_split(len(x), str(path))
        x, x_test = _split(path, x, train_rows, test_rows)
        y, y_test = y[train_rows], y[test_rows]
        if ids is not None:
            ids, ids_test = ids[train_rows], ids[test_rows]
        else:
            rows_train = train_rows
        rows = {"x_train": ("x", train_rows), "x_test": ("x", test_rows)}
    source = {"kind": "npz", "path": str(path), "test split": "given" if given else HELD_OUT_NOTE}
    try:
        return Dataset(path.resolve().stem, x, y, x_test, y_test, class_names, source=source, ids_train=ids,
                       ids_test=ids_test, is_embeddings=_is_embeddings(path, arrays.get("kind"), x),
                       rows_train=rows_train, skipped=_skipped(path, arrays.get("skipped")),
                       preparation=_preparation(path, arrays.get("preparation")),
                       text_model=str(arrays.get("text_model", "")))  # fmt: skip
    except NonFiniteError as error:
        name, original = rows[error.array]
        row = error.row if original is None else int(original[error.row])
        raise InputError(
            f"{path}: {name} holds NaN, infinite or beyond-float32 values, as in row {row}; remove or replace them"
        ) from None


def _read(path: Path) -> dict[str, np.ndarray]:
    with open_archive(path) as archive:
        members = member_names(path, archive)
        other = sorted(name for name in members.keys() - set(ARRAYS) if not name.startswith(PATCHES_PREFIX))
        if other and members.keys() & set(ARRAYS):
            logger.warning("%s: arrays %s are not used; only %s are", path, other, ", ".join(ARRAYS))
        elif other:
            raise InputError(f"{path} holds {', '.join(other)[:80]}; save the arrays as x and y")
        arrays = read_members(path, archive, {name: members[name] for name in ARRAYS if name in members})
        for name, array in arrays.items():
            is_split_later = name == "x" and "x_test" not in arrays and _is_large(array)
            if isinstance(array, np.memmap) and not is_split_later:
                verify_member(archive, members[name])
        return arrays


def _is_large(x: np.ndarray) -> bool:
    """Return whether the cache folder keeps the parts of an array that is split."""
    return isinstance(x, np.memmap) and x.nbytes > IN_MEMORY_BYTES


def _inputs(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Return images as (N, H, W, C), vectors as they are."""
    if array.ndim and not array.size:
        raise InputError(f"{path}: {name} is empty: {_form(array)}; save at least one sample")
    floating = array.dtype.name in FEATURE_DTYPES
    if floating and array.ndim == 2:
        return array
    if array.dtype == np.uint8 and array.ndim == 3:
        return array[..., np.newaxis]
    if array.dtype == np.uint8 and array.ndim == 4:
        check_channels_last(array, f"{path}: {name}")
        return array
    if array.ndim == 2:
        advice = f"feature vectors must be float: {name}.astype('float32')"
    elif array.ndim in (3, 4):
        advice = "images must be uint8, 0 to 255 (round and convert them)"
    else:
        advice = "save images as uint8 (N, H, W) or (N, H, W, C), or feature vectors as float (N, D)"
    raise InputError(f"{path}: {name} is {_form(array)}; {advice}")


def _labels(path: Path, y: np.ndarray, y_test: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    for name, labels in (("y", y), ("y_test", y_test)):
        if labels.ndim != 1 or labels.dtype.kind not in "iubUS":
            raise InputError(f"{path}: {name} is {_form(labels)}; save one integer or string per sample, shape (N,)")
    if (y.dtype.kind in "US") != (y_test.dtype.kind in "US"):
        raise InputError(f"{path}: y is {y.dtype} but y_test {y_test.dtype}; save both as integers or as strings")
    if y.dtype.kind not in "US":
        return encode_integers(_as_integers(y), _as_integers(y_test), str(path))
    names, test_names = _texts(path, y), _texts(path, y_test)
    check_written_labels([*names, *test_names], str(path))
    return encode_names(names, test_names, str(path))


def _class_names(path: Path, names: np.ndarray) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise InputError(f"{path}: class_names is {_form(names)}; save one string per class, by class number")
    return tuple(_texts(path, names))


def _numbered(path: Path, name: str, labels: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{path}: {name} is {_form(labels)}; with class_names, save class numbers, integers (N,)")
    if labels.size and not (labels.min() >= 0 and labels.max() < len(class_names)):
        raise InputError(f"{path}: {name} holds numbers outside 0..{len(class_names) - 1}, the range of class_names")
    return labels.astype(np.int64)


def _ids(path: Path, name: str, ids: np.ndarray | None, n_samples: int) -> np.ndarray | None:
    if ids is None or (not n_samples and name == "ids_test"):
        return None
    if ids.shape != (n_samples,) or ids.dtype.kind not in "US":
        raise InputError(f"{path}: {name} is {_form(ids)}; save one string per sample, shape ({n_samples},)")
    return np.array(_texts(path, ids))


def _is_embeddings(path: Path, kind: np.ndarray | None, x: np.ndarray) -> bool:
    if kind is None:
        return False
    if x.ndim == 2 and kind.dtype.kind in "US" and kind.tolist() in _EMBEDDINGS_KINDS:
        return True
    logger.warning("%s: array kind is not used; only %r is known, for vectors", path, EMBEDDINGS)
    return False


def _skipped(path: Path, names: np.ndarray | None) -> tuple[str, ...]:
    if names is None:
        return ()
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise InputError(f"{path}: skipped is {_form(names)}; save the names of files that were left out, strings (N,)")
    return tuple(_texts(path, names))


def _preparation(path: Path, written: np.ndarray | None) -> dict[str, str]:
    if written is None:
        return {}
    try:
        found = json.loads(str(written))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path}: preparation must be a text that holds a JSON object; leave it out")
    return {str(key): str(value) for key, value in found.items()}


def _as_integers(labels: np.ndarray) -> np.ndarray:
    return labels.astype(np.uint8 if labels.dtype.kind == "b" else labels.dtype.newbyteorder("="))


def _texts(path: Path, labels: np.ndarray) -> list[str]:
    if labels.dtype.kind == "U" and labels.dtype.itemsize:
        native = np.ascontiguousarray(labels, labels.dtype.newbyteorder("="))
        # numpy makes texts of any numbers, with which Python fails later.
        if native.view(np.uint32).max(initial=0) > sys.maxunicode:
            raise InputError(f"{path}: a text holds numbers that are no characters; write the file again")
    try:
        return [label.decode() if isinstance(label, bytes) else label for label in labels.tolist()]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: a label is not UTF-8 text; save labels as str") from error


def _split(path: Path, x: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not _is_large(x):
        return x[train], x[test]
    order = np.concatenate([train, test])
    key = hashlib.blake2b(repr((_CACHE_FORMAT, file_state(path.stat()))).encode(), digest_size=16).hexdigest()

    def verified_rows() -> ArrayBlocks:
        with open_archive(path) as archive:
            verify_member(archive, member_names(path, archive)["x"])
        return ArrayBlocks(x.shape, x.dtype, read_rows(x, order))

    split = cached_array(path, key, len(x), verified_rows)
    return split[: len(train)], split[len(train) :]


def _form(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"
