"""User data as a folder of class folders, optionally under ``train/`` and ``test/``."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.decoding import IMAGE_SUFFIXES
from deepal_autoal.datasets.files.image_files import FOLDER, ImageFile, file_state, image_dataset
from deepal_autoal.datasets.user_data.labels import class_order
from deepal_autoal.errors import InputError

# What cameras, systems and datasets leave beside images; any other file that is not an image is reported.
_SIDE_SUFFIXES = frozenset(
    {
        ".csv",
        ".db",
        ".htm",
        ".html",
        ".ini",
        ".json",
        ".log",
        ".md",
        ".toml",
        ".tsv",
        ".txt",
        ".url",
        ".xml",
        ".yaml",
        ".yml",
    }
)
_SIDE_NAMES = frozenset({"license", "readme", "__macosx", "@eadir", "$recycle.bin"})
_OTHER_SPLITS = frozenset({"val", "valid", "validation"})

logger = logging.getLogger(__name__)


def load_image_folder(folder: Path, image_size: tuple[int, int] | None = None) -> Dataset:
    """Load ``folder/<class>/…`` or ``folder/train/<class>/…`` with ``folder/test/<class>/…``.

    Every folder directly below is a class, and all images anywhere in it belong to it. Hidden files and common
    side files (``Thumbs.db``, ``*.txt``, ``*.json``, …) are ignored. Without ``test/`` a fifth is held out.

    Args:
        folder: The folder.
        image_size: Height and width that every image is brought to; by default all must have one size.

    Raises:
        InputError: If there is no image, a class folder has none, a file is neither an image nor a known side
            file, or an image cannot be used; the message names it.
    """
    roots = _class_folders(folder)
    others = set(roots) - {"train", "test"} - _OTHER_SPLITS
    if "train" not in roots or (others and not _is_split(folder / "train")):
        train, test = images_by_class(folder, ""), []
    else:
        if others:
            raise InputError(f"{folder} holds {min(others)} beside train; move it into train (and test), or elsewhere")
        unused = sorted(set(roots) & _OTHER_SPLITS)
        if unused and "test" not in roots:
            raise InputError(f"{folder} holds train and {unused[0]} but no test; rename {unused[0]} to test")
        if unused:
            logger.warning("%s: %s is not used; only train and test are", folder, ", ".join(unused))
        train = images_by_class(folder / "train", "train/")
        test = images_by_class(folder / "test", "test/") if "test" in roots else []
    return image_dataset(FOLDER, folder, folder, train, test, image_size)


def _is_split(folder: Path) -> bool:
    """Return whether ``train`` holds class folders only, rather than being a class of that name."""
    entries = _entries(folder)
    return any(entry.is_dir() for entry in entries) and not any(_is_image(entry.name) for entry in entries)


def _class_folders(folder: Path) -> list[str]:
    names = []
    for entry in _entries(folder):
        if entry.is_dir():
            names.append(entry.name)
        elif not _is_side_file(entry.name):
            raise InputError(f"{entry.path} is outside the class folders; move it into one, or remove it")
    if not names:
        raise InputError(f"{folder} holds no class folders; create one per class, with its images in it")
    return list(class_order(names))


def images_by_class(folder: Path, prefix: str) -> list[ImageFile]:
    """Return the images of all class folders, class by class, each sorted; their paths begin with ``prefix``.

    Raises:
        InputError: As for `load_image_folder`.
    """
    files: list[ImageFile] = []
    for label in _class_folders(folder):
        found = [
            ImageFile(relative, label, file_state(status))
            for relative, status in images_in(folder / label, f"{prefix}{label}/")
        ]
        if not found:
            raise InputError(f"the class folder {folder / label} holds no images; fill it or remove it")
        files += found
    return files


def images_in(
    folder: Path, prefix: str, above: tuple[tuple[int, int], ...] = ()
) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path and status of all image files in a folder and below; the paths begin with ``prefix``.

    Links to folders are followed, but not in cycles.

    Args:
        above: The enclosing folders, by device and inode number.

    Raises:
        InputError: As for `load_image_folder`.
    """
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        raise InputError(f"{folder} links to a folder that contains it; remove the link")
    for entry in _entries(folder):
        if entry.is_dir():
            yield from images_in(Path(entry.path), f"{prefix}{entry.name}/", (*above, identity))
        elif _is_image(entry.name):
            yield prefix + entry.name, _file_status(entry)
        elif not _is_side_file(entry.name):
            known = ", ".join(suffix.lstrip(".") for suffix in sorted(IMAGE_SUFFIXES))
            raise InputError(f"{entry.path} does not have an image suffix ({known}); convert or remove it")


def _file_status(entry: os.DirEntry[str]) -> os.stat_result:
    # Reading a named pipe would block; a broken link has no status.
    with contextlib.suppress(OSError):
        if entry.is_file():
            return entry.stat()
    raise InputError(f"{entry.path} is not a readable file; remove or replace it")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return a folder's visible entries, sorted by name: the file system's order is arbitrary."""
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be read: {error.strerror}") from error
    return sorted((e for e in visible if e.name.lower() not in _SIDE_NAMES), key=lambda entry: entry.name)


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _is_side_file(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in _SIDE_SUFFIXES
