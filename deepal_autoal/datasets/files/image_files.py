"""Turns listed image files into a `Dataset`: split, decoded once into the cache, memory-mapped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.array_cache import cached_array
from deepal_autoal.datasets.files.decoding import ColorFoundError, bombs_refused, decode_images
from deepal_autoal.datasets.files.image_size import image_size_text
from deepal_autoal.datasets.splits import HELD_OUT_NOTE, held_out_split
from deepal_autoal.datasets.user_data.labels import encode_names

FOLDER, MANIFEST = "image folder", "CSV manifest"
"""Kinds of datasets of image files."""
IMAGE_SIZE = "image size"
"""Entry of a dataset's ``source`` if its images were brought to a size."""

_CACHE_FORMAT = "images 1"


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
    test: Sequence[ImageFile],
    image_size: tuple[int, int] | None = None,
) -> Dataset:
    """Return the dataset of listed images; without test images a fifth is held out.

    Training images keep their listed order and come first in the cached array, so both splits are contiguous views
    of one memory map.

    Args:
        kind: For the record, such as ``"image folder"``.
        origin: The path that the user gave; the dataset is named after it.
        folder: The folder that the files' paths are relative to.
        train, test: The images of the splits.
        image_size: Height and width that every image is brought to; by default all must have one size.

    Raises:
        InputError: If an image cannot be used, or the test data contain unknown classes.
    """
    y_train, y_test, class_names = encode_names([f.label for f in train], [f.label for f in test], str(origin))
    files = [*train, *test]
    if not test:
        train_rows, test_rows = held_out_split(len(train), str(origin))
        files = [train[row] for row in (*train_rows, *test_rows)]
        y_train, y_test = y_train[train_rows], y_train[test_rows]
    images = _decoded(origin, folder, files, image_size)
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
            "test split": "given" if test else HELD_OUT_NOTE,
            **({} if image_size is None else {IMAGE_SIZE: str(image_size_text(image_size))}),
        },
        ids_train=ids[: len(y_train)],
        ids_test=ids[len(y_train) :],
    )


def _decoded(origin: Path, folder: Path, files: Sequence[ImageFile], image_size: tuple[int, int] | None) -> np.ndarray:
    digest = hashlib.blake2b(_CACHE_FORMAT.encode(), digest_size=16)
    if image_size is not None:
        digest.update(f" {image_size_text(image_size)}".encode())
    for file in files:
        digest.update(os.fsencode("\0".join((file.relative, file.label, *map(str, file.state))) + "\n"))
    paths = [folder / file.relative for file in files]

    def decoded(gray: bool) -> np.ndarray:
        with bombs_refused():
            return cached_array(origin, digest.hexdigest(), len(paths), lambda: decode_images(paths, gray, image_size))

    # Grayscale unless a color image turns up: a late one costs a second pass, but checking all headers first would
    # always cost one.
    try:
        return decoded(gray=True)
    except ColorFoundError:
        return decoded(gray=False)
