"""What a labeling project can be about: image files, texts, feature vectors or image arrays, read from a path."""

from __future__ import annotations

import hashlib
import os
import unicodedata
import zipfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.datasets.files.bad_files import bad_files_error
from deepal_autoal.datasets.files.decoding import BadFileError, find_bad_files
from deepal_autoal.datasets.files.npz_members import member_names, read_members, verify_member
from deepal_autoal.datasets.files.tables import Table, read_csv, read_parquet
from deepal_autoal.datasets.user_data.image_folder import images_in
from deepal_autoal.datasets.user_data.labels import is_missing, is_unlabeled_folder
from deepal_autoal.datasets.user_data.manifest import FolderLookup
from deepal_autoal.errors import DeepALError, InputError, error_message
from deepal_autoal.files import checksum_of_file
from deepal_autoal.training.samples import as_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILES, TEXTS, ARRAY = "image files", "texts", "array"
"""Forms of samples."""
SKIP = "skip"
"""What is written in place of a label for a sample that a person cannot label."""
_FORMS = "a folder of images, or a .csv, .parquet, .npz, .npy or .txt file"
_NO_FEATURES = ("id", "label")
_ARRAYS = ("x", "ids", "y", "class_names")


@dataclass(frozen=True)
class Source:
    """Samples read from one path, in an order that stays.

    Attributes:
        form: One of `FILES`, `TEXTS` and `ARRAY`.
        ids: Their names, distinct: file paths relative to ``folder``, given ids, or nothing for row numbers.
        labels: The class name of each sample that has one already, else None.
        folder: Of `FILES`: what their paths are relative to.
        sizes: Of `FILES`: their sizes in bytes.
        texts: Of `TEXTS`.
        array: Of `ARRAY`: images uint8 (N, H, W, C) or vectors (N, D).
        columns: Of vectors from a table: the names of its columns, D.
        left_out: Of `FILES`: why files were left out, by path.
    """

    form: str
    ids: list[str] | None
    labels: list[str | None]
    folder: Path | None = None
    sizes: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    array: NDArray[Any] | None = None
    columns: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)


def read_source(path: Path, classes: Collection[str] | None = None, *, skip_bad: bool = False) -> Source:
    """Read samples.

    Args:
        path: A folder of images, a table, arrays or a text file.
        classes: If given, only folders with these names, in any Unicode form, are classes.
        skip_bad: Whether to go on without image files that cannot be used.

    Raises:
        InputError: If it is none of these, or cannot be used; the message says why and what to do.
    """
    if path.is_dir():
        source = _image_folder(path, classes, skip_bad)
    else:
        readers = {".csv": _csv, ".tsv": _csv, ".parquet": _parquet, ".npz": _npz, ".npy": _npy, ".txt": _text_file}
        reader = readers.get(path.suffix.lower())
        if not os.path.lexists(path):
            raise InputError(f"there is no file or folder {path}; give {_FORMS}")
        if reader is None or not path.is_file():
            raise InputError(f"{path} is not data for labeling; give {_FORMS}")
        source = reader(path, skip_bad)
    if not len(source):
        raise InputError(f"{path} holds no samples; give {_FORMS}")
    if source.ids is not None:
        _check_ids(source.ids, path)
    source = replace(source, labels=[label and composed(label) for label in source.labels])
    for label in {label for label in source.labels if label is not None}:
        check_class_name(label, str(path))
    return source


def composed(name: str) -> str:
    """Return a class name with accented letters as one character each (NFC).

    Names of folders and what a keyboard writes may differ in that, which nobody can see.
    """
    return unicodedata.normalize("NFC", name)


def check_class_name(name: str, where: str) -> None:
    """Refuse what cannot be the name of a class.

    Raises:
        InputError: If it is empty, stands for something else, or is no single line.
    """
    if not name.strip():
        raise InputError(f"{where}: a class has an empty name; give it one")
    if name.casefold() == SKIP:
        raise InputError(f"{where}: {name!r} cannot be a class, as it says that nobody can tell; rename the class")
    if is_missing(name) or name.strip() == "-1":
        raise InputError(
            f"{where}: the label {name!r} stands for a missing one; leave it empty where there is none, or rename the "
            "class"
        )
    if name != name.strip() or not name.isprintable():
        raise InputError(f"{where}: the class {name!r} has spaces around it or characters that cannot be seen")


def spelled_alike(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of names that differ only in case, spaces or punctuation."""
    first: dict[str, str] = {}
    return [(other, name) for name in names if (other := first.setdefault(plain_name(name), name)) != name]


def plain_name(name: str) -> str:
    """Return a name without case, spaces and punctuation; one without letters or digits as it is.

    Marks, such as the vowels of Indic scripts, make different names.
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    if not any(map(str.isalnum, folded)):
        return name
    return "".join(mark for mark in folded if mark.isalnum() or unicodedata.category(mark).startswith("M"))


def fingerprint_of(path: Path, source: Source) -> str:
    """Return a hex digest by which moved data are recognized: of a file, or of image files' paths and sizes."""
    if source.form != FILES:
        return checksum_of_file(path)
    digest = hashlib.blake2b(digest_size=16)
    for name, size in zip(source.ids or (), source.sizes, strict=True):
        digest.update(os.fsencode(f"{name}\0{size}\n"))
    return digest.hexdigest()


def _image_folder(folder: Path, classes: Collection[str] | None, skip_bad: bool) -> Source:
    bad: dict[str, BadFileError] = {}
    found = sorted(images_in(folder, "", lambda name, error: bad.update({name: error})), key=lambda item: item[0])
    labels: list[str | None] = []
    classes = classes and set(map(composed, classes))
    for name, _ in found:
        top, slash, _ = name.partition("/")
        is_class = bool(slash) and (composed(top) in classes if classes else not is_unlabeled_folder(top))
        labels.append(top if is_class else None)
    return _image_files(folder, [name for name, _ in found], [status.st_size for _, status in found], labels, bad,
                        skip_bad)  # fmt: skip


def _image_files(
    folder: Path, names: Sequence[str], sizes: Sequence[int], labels: Sequence[str | None],
    bad: dict[str, BadFileError], skip_bad: bool,
) -> Source:  # fmt: skip
    """Return listed files that can be decoded; the others are an error or left out."""
    paths = {folder / name: name for name in names}
    bad = {**bad, **{paths[path]: error for path, error in find_bad_files(list(paths)).items()}}
    if bad and not (skip_bad and len(bad) < len(names)):
        raise bad_files_error(bad, len({*names, *bad}), folder, may_skip=True)
    kept = [row for row, name in enumerate(names) if name not in bad]
    return Source(FILES, [names[row] for row in kept], [labels[row] for row in kept], folder=folder,
                  sizes=[sizes[row] for row in kept],
                  left_out={name: error.reason for name, error in bad.items()})  # fmt: skip


def _csv(path: Path, skip_bad: bool) -> Source:
    return _from_table(path, read_csv(path), skip_bad)


def _parquet(path: Path, skip_bad: bool) -> Source:
    return _from_table(path, read_parquet(path), skip_bad)


def _from_table(path: Path, table: Table, skip_bad: bool) -> Source:
    labels: list[str | None] = [None] * len(table)
    if "label" in table.names:
        labels = [text or None for text in table.texts("label")]
    known = [name for name in ("path", "text") if name in table.names]
    if len(known) > 1:
        raise InputError(f"{path} has both a column path and a column text; keep the one that is to be labeled")
    if known == ["path"]:
        return _listed_files(path, table, labels, skip_bad)
    ids = table.texts("id") if "id" in table.names else None
    if known == ["text"]:
        texts = table.texts("text")
        empty = next((row for row, text in enumerate(texts) if not text.strip()), None)
        if empty is not None:
            raise InputError(f"{table.where(empty)}: the text is empty; fill it in or remove the row")
        return Source(TEXTS, ids, labels, texts=texts)
    array = _samples(path, table.numbers(_NO_FEATURES))
    return Source(ARRAY, ids, labels, array=array, columns=table.feature_names(_NO_FEATURES))


def _listed_files(path: Path, table: Table, labels: list[str | None], skip_bad: bool) -> Source:
    lookup, bad, names, sizes = FolderLookup(path.parent), {}, [], []
    first: dict[str, int] = {}
    for row, name in enumerate(table.texts("path")):
        where = table.where(row)
        if not name:
            raise InputError(f"{where}: the path is empty; fill it in or remove the row")
        earlier = first.setdefault(os.path.normpath(name), row)
        if earlier != row:
            raise InputError(f"{where}: {name} is listed a second time; remove one")
        try:
            sizes.append(lookup.status(name, where).st_size)
        except BadFileError as error:
            bad[name] = error
            sizes.append(0)
        names.append(name)
    found = [row for row, name in enumerate(names) if name not in bad]
    return _image_files(path.parent, [names[row] for row in found], [sizes[row] for row in found],
                        [labels[row] for row in found], bad, skip_bad)  # fmt: skip


def _npy(path: Path, skip_bad: bool) -> Source:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # damaged headers raise anything
        raise InputError(f"{path} cannot be read as .npy ({error_message(error)}); write it with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} is an .npz by content; name it so")
    samples = _samples(path, array)
    return Source(ARRAY, None, [None] * len(samples), array=samples)


def _npz(path: Path, skip_bad: bool) -> Source:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name: info for name, info in member_names(path, archive).items() if name in _ARRAYS}
            if "x" not in members:
                raise InputError(f"{path} holds no array x; save it with x and optionally ids, y and class_names")
            arrays = read_members(path, archive, members)
            verify_member(archive, members["x"])
    except DeepALError:
        raise
    except Exception as error:  # damaged headers raise anything
        raise InputError(
            f"{path} cannot be read as .npz ({error_message(error)}); write it with numpy.savez"
        ) from error
    samples = _samples(path, arrays["x"])
    for name in ("ids", "y"):
        if name in arrays and arrays[name].shape != (len(samples),):
            raise InputError(
                f"{path}: {name} has shape {arrays[name].shape}; save one entry a sample, ({len(samples)},)"
            )
    ids = [_text(path, "ids", value) for value in arrays["ids"].tolist()] if "ids" in arrays else None
    return Source(ARRAY, ids, _array_labels(path, arrays, len(samples)), array=samples)


def _array_labels(path: Path, arrays: dict[str, NDArray[Any]], n_samples: int) -> list[str | None]:
    if "y" not in arrays:
        return [None] * n_samples
    y = arrays["y"]
    if y.dtype.kind in "US":
        return [_text(path, "y", value).strip() or None for value in y.tolist()]
    if y.dtype.kind not in "iub":
        raise InputError(f"{path}: y is {y.dtype}; save class names, empty where there is none, or integers, -1 there")
    values = y.astype(np.int64).tolist()
    if "class_names" in arrays:
        names = [_text(path, "class_names", name) for name in np.atleast_1d(arrays["class_names"]).tolist()]
        if max(values) >= len(names) or min(values) < -1:
            raise InputError(f"{path}: y holds numbers outside -1..{len(names) - 1}, the range of class_names")
        return [None if value < 0 else names[value] for value in values]
    if min(values) < -1:
        raise InputError(f"{path}: y holds {min(values)}; write -1 where there is no label")
    return [None if value < 0 else str(value) for value in values]


def _text(path: Path, name: str, value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InputError(f"{path}: {name} holds bytes that are not UTF-8 text; save it as str") from None
    return str(value)


def _text_file(path: Path, skip_bad: bool) -> Source:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    texts = [line for line in lines if line.strip()]
    return Source(TEXTS, None, [None] * len(texts), texts=texts)


def _samples(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 2 and array.dtype.kind in "iub":
        array = array.astype(np.float32)
    return as_samples(array, f"{path}: x" if path.suffix == ".npz" else str(path))


def _check_ids(ids: Sequence[str], path: Path) -> None:
    seen: set[str] = set()
    for name in ids:
        if not name.strip() or name != name.strip():
            raise InputError(f"{path}: the id {name!r} is empty or has spaces around it; give every sample a name")
        if not name.isprintable():
            raise InputError(f"{path}: the name {name!r} has characters that cannot be written or seen; rename it")
        if name in seen:
            raise InputError(f"{path}: the id {name!r} occurs twice; give every sample its own")
        seen.add(name)
