"""Turns listed image files into a `Dataset`: split, decoded once into the cache, memory-mapped."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.array_cache import ArrayBlocks, cached_array
from deepal_autoal.datasets.files.bad_files import BadFile, ImageRecord, bad_files_error, first_files
from deepal_autoal.datasets.files.decoding import (
    BadFileError,
    ColorFoundError,
    MixedSizesError,
    bombs_refused,
    decode_images,
    find_bad_files,
)
from deepal_autoal.datasets.files.image_findings import MOST_BITS, FewerBitsError, ImageFindings
from deepal_autoal.datasets.files.image_size import image_size_text
from deepal_autoal.datasets.splits import HELD_OUT_NOTE, held_out_split
from deepal_autoal.datasets.user_data.labels import encode_names
from deepal_autoal.errors import InputError

FOLDER, MANIFEST = "image folder", "CSV manifest"
"""Kinds of datasets of image files."""
IMAGE_SIZE = "image size"
"""Entry of a dataset's ``source`` if its images were brought to a size."""

_SEARCHED = 2000
_CACHE_FORMAT = "images 2"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A listed image.

    Attributes:
        relative: Its path relative to the dataset's folder.
        state: Changes when the file does (see `file_state`).
    """

    relative: str
    label: str
    state: tuple[int, int, int]


def file_state(status: os.stat_result) -> tuple[int, int, int]:
    """Return size, modification time and change time; the last detects a replaced file with the same date."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def image_dataset(
    kind: str,
    origin: Path,
    folder: Path,
    train: Sequence[ImageFile],
    test: Sequence[ImageFile] | None,
    image_size: tuple[int, int] | None = None,
    *,
    bad: Sequence[BadFile] = (),
    skip_bad: bool | None = None,
) -> Dataset:
    """Return the dataset of listed images; without a test split a fifth is held out.

    Training images keep their listed order and come first in the cached array, so both splits are contiguous views
    of one memory map.

    Args:
        kind: For the record, such as ``"image folder"``.
        origin: The path that the user gave; the dataset is named after it.
        folder: The folder that the files' paths are relative to.
        train: The training images.
        test: The test images; None if there is no test split.
        image_size: Height and width that every image is brought to; by default all must have one size.
        bad: Listed files that are known to be unusable; they are in neither split.
        skip_bad: Whether to go on without files that cannot be used; None if the user has no such choice.

    Raises:
        InputError: If an image cannot be used, or the test data contain unknown classes.
    """
    listed = [*train, *(test or ())]
    key = _key(listed, bad, image_size)
    known = ImageRecord.read(origin, key)
    left_out: dict[str, BadFileError | str] = {item.relative: item.error for item in bad}
    if skip_bad:
        left_out |= known.left_out
    elif bad:
        errors = {item.relative: item.error for item in bad}
        if len(listed) <= _SEARCHED:  # of more, the listing alone says what is wrong: decoding them takes long
            errors |= _find_bad(folder, listed)
        raise bad_files_error(errors, len(listed) + len(bad), folder, skip_bad is not None)
    while True:
        classes = {file.label for file in train} | {item.label for item in bad}
        files, y_train, y_test, class_names = _in_splits(origin, train, test, left_out, classes)
        try:
            images, remarks = decoded_images(origin, folder, files, image_size)
            break
        except BadFileError as error:
            found = _find_bad(folder, [file for file in listed if file.relative not in left_out])
            if not found:
                raise
            if not skip_bad:
                raise bad_files_error(found, len(listed), folder, skip_bad is not None) from error
            left_out |= found
        except MixedSizesError as error:
            # Files that cannot be read are named first: they would be the next error once all sizes agree.
            found = _find_bad(folder, files) if not skip_bad and len(files) <= _SEARCHED else {}
            if not found:
                raise
            unusable = bad_files_error(found, len(listed), folder, skip_bad is not None)
            raise InputError(f"{unusable}; moreover, {error}") from error
    reasons = {name: getattr(error, "reason", str(error)) for name, error in left_out.items()}
    if remarks is None:
        remarks = known.remarks
    now = ImageRecord(reasons, remarks)
    if now != known:
        now.write(origin, key)
    if left_out:
        logger.warning(
            "%s: %d of %d files are left out: %s", origin, len(left_out), len(listed) + len(bad), first_files(reasons)
        )
    for remark in remarks:
        logger.warning("%s: %s", origin, remark)
    ids = np.array([file.relative for file in files])
    resolved = origin.resolve()
    return Dataset(
        (resolved.name if origin.is_dir() else resolved.stem) or kind,
        images[: len(y_train)],
        y_train,
        images[len(y_train) :],
        y_test,
        class_names,
        source={
            "kind": kind,
            "path": str(origin),
            "test split": HELD_OUT_NOTE if test is None else "given",
            **({"remarks": "; ".join(remarks)} if remarks else {}),
            **({} if image_size is None else {IMAGE_SIZE: str(image_size_text(image_size))}),
        },
        ids_train=ids[: len(y_train)],
        ids_test=ids[len(y_train) :],
        skipped=tuple(sorted(left_out)),
    )


def _in_splits(
    origin: Path,
    train: Sequence[ImageFile],
    test: Sequence[ImageFile] | None,
    left_out: Container[str],
    classes: set[str],
) -> tuple[list[ImageFile], np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return the files that can be used, those of the training split first, both splits' labels, and class names."""
    train = [file for file in train if file.relative not in left_out]
    _check_classes_left(origin, classes, train)
    kept_test = [file for file in test or () if file.relative not in left_out]
    if test is not None and not kept_test:
        raise InputError(f"{origin}: none of its test images can be used; replace them, or remove the test split")
    y_train, y_test, class_names = encode_names(
        [file.label for file in train], [file.label for file in kept_test], str(origin)
    )
    if test is not None:
        return [*train, *kept_test], y_train, y_test, class_names
    train_rows, test_rows = held_out_split(len(train), str(origin))
    files = [train[row] for row in (*train_rows, *test_rows)]
    return files, y_train[train_rows], y_train[test_rows], class_names


def _check_classes_left(origin: Path, classes: set[str], train: Sequence[ImageFile]) -> None:
    gone = sorted(classes - {file.label for file in train})
    if gone:
        raise InputError(
            f"{origin}: no training image of class {gone[0]} can be used, so it cannot be left out with --skip-bad: "
            "replace its files, or remove the class"
        )


def _find_bad(folder: Path, files: Sequence[ImageFile]) -> dict[str, BadFileError]:
    paths = {folder / file.relative: file.relative for file in files}
    return {paths[path]: error for path, error in find_bad_files(list(paths)).items()}


def _key(files: Sequence[ImageFile], bad: Sequence[BadFile], image_size: tuple[int, int] | None) -> str:
    digest = hashlib.blake2b(_CACHE_FORMAT.encode(), digest_size=16)
    if image_size is not None:
        digest.update(f" {image_size_text(image_size)}".encode())
    for file in files:
        digest.update(os.fsencode("\0".join((file.relative, file.label, *map(str, file.state))) + "\n"))
    for item in bad:
        digest.update(os.fsencode(f"{item.relative}\0{item.error.reason}\n"))
    return digest.hexdigest()


def decoded_images(
    origin: Path, folder: Path, files: Sequence[ImageFile], image_size: tuple[int, int] | None
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Return the images, and what was found while they were decoded, None if they were decoded earlier."""
    key = _key(files, (), image_size)
    paths = [folder / file.relative for file in files]
    # Grayscale unless a color image turns up, and 16-bit values unless there are fewer bits: either costs a second
    # pass, but checking all files first would always cost one.
    gray, bits = True, MOST_BITS
    findings: ImageFindings | None = None

    def blocks() -> ArrayBlocks:
        nonlocal findings
        findings = ImageFindings(bits)
        return decode_images(paths, gray, findings, image_size)

    while True:
        try:
            with bombs_refused():
                images = cached_array(origin, key, len(paths), blocks)
            return images, None if findings is None else findings.remarks()
        except ColorFoundError:
            gray = False
        except FewerBitsError as error:
            bits = error.bits
