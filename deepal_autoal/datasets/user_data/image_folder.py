"""User data as a folder of class folders, optionally under ``train/`` and ``test/``."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.bad_files import BadFile
from deepal_autoal.datasets.files.decoding import IMAGE_SUFFIXES, BadFileError
from deepal_autoal.datasets.files.image_files import FOLDER, ImageFile, file_state, image_dataset
from deepal_autoal.datasets.user_data.labels import class_order, is_unlabeled_folder
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


def load_image_folder(folder: Path, image_size: tuple[int, int] | None = None, *, skip_bad: bool = False) -> Dataset:
    """Load ``folder/<class>/…`` or ``folder/train/<class>/…`` with ``folder/test/<class>/…``.

    Every folder directly below is a class, and all images anywhere in it belong to it. Hidden files and common
    side files (``Thumbs.db``, ``*.txt``, ``*.json``, …) are ignored. Without ``test/`` a fifth is held out.

    Args:
        folder: The folder.
        image_size: Height and width that every image is brought to; by default all must have one size.
        skip_bad: Whether to go on without files that cannot be used.

    Raises:
        InputError: If there is no image, a class folder has none or is named as one of images without labels, a file
            is neither an image nor a known side file, or an image cannot be used; the message names it.
    """
    bad: list[BadFile] = []
    roots = _class_folders(folder)
    others = set(roots) - {"train", "test"} - _OTHER_SPLITS
    if "train" not in roots or (others and not _is_split(folder / "train")):
        train, test = images_by_class(folder, "", bad), None
    else:
        if others:
            raise InputError(f"{folder} holds {min(others)} beside train; move it into train (and test), or elsewhere")
        unused = sorted(set(roots) & _OTHER_SPLITS)
        if unused and "test" not in roots:
            raise InputError(f"{folder} holds train and {unused[0]} but no test; rename {unused[0]} to test")
        if unused:
            logger.warning("%s: %s is not used; only train and test are", folder, ", ".join(unused))
        train = images_by_class(folder / "train", "train/", bad)
        test = images_by_class(folder / "test", "test/", bad) if "test" in roots else None
    return image_dataset(FOLDER, folder, folder, train, test, image_size, bad=bad, skip_bad=skip_bad)


def _is_split(folder: Path) -> bool:
    """Return whether ``train`` holds class folders only, rather than being a class of that name."""
    entries = _entries(folder)
    return any(_is_folder(entry) for entry in entries) and not any(_is_image(entry.name) for entry in entries)


def _class_folders(folder: Path) -> list[str]:
    names = []
    for entry in _entries(folder):
        if _is_folder(entry):
            if is_unlabeled_folder(entry.name):
                raise InputError(
                    f"{entry.path} holds images without labels, by its name, and a simulated run needs every label: "
                    "move it elsewhere, or rename it if it is a class"
                )
            names.append(entry.name)
        elif not _is_side_file(entry.name):
            raise InputError(f"{entry.path} is outside the class folders; move it into one, or remove it")
    if not names:
        raise InputError(f"{folder} holds no class folders; create one per class, with its images in it")
    return list(class_order(names))


def images_by_class(folder: Path, prefix: str, bad: list[BadFile] | None = None) -> list[ImageFile]:
    """Return the images of all class folders, class by class, each sorted; their paths begin with ``prefix``.

    Args:
        folder: The folder of class folders.
        prefix: What the images' relative paths begin with.
        bad: Collects files that cannot be used; by default the first one raises.

    Raises:
        InputError: As for `load_image_folder`.
    """
    files: list[ImageFile] = []
    for label in _class_folders(folder):
        n_before = len(files) + len(bad or ())

        def on_bad(relative: str, error: BadFileError, label: str = label) -> None:
            if bad is None:
                raise error
            bad.append(BadFile(relative, label, error))

        files += [
            ImageFile(relative, label, file_state(status))
            for relative, status in images_in(folder / label, f"{prefix}{label}/", on_bad)
        ]
        if len(files) + len(bad or ()) == n_before:
            raise InputError(f"the class folder {folder / label} holds no images; fill it or remove it")
    return files


def _raise(relative: str, error: BadFileError) -> None:
    raise error


def images_in(
    folder: Path, prefix: str, on_bad: Callable[[str, BadFileError], None] = _raise
) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path and status of all image files in a folder and below; the paths begin with ``prefix``.

    Links to folders are followed, but no folder is entered twice: not in cycles, nor by two ways.

    Args:
        folder: The folder.
        prefix: What the paths begin with.
        on_bad: Called with the path of a file that is not a readable image file, and the error.

    Raises:
        InputError: As for `load_image_folder`.
    """
    entered: dict[tuple[int, int], str] = {}
    # Not recursive: folders may be nested deeper than calls.
    pending = [(prefix, iter(_entered(str(folder), entered)))]
    while pending:
        prefix, entries = pending[-1]
        entry = next(entries, None)
        if entry is None:
            pending.pop()
        elif _is_folder(entry):
            pending.append((f"{prefix}{entry.name}/", iter(_entered(entry.path, entered))))
        elif _is_image(entry.name):
            # Reading a named pipe would block; a broken link has no status.
            status = _file_status(entry)
            if status is not None:
                yield prefix + entry.name, status
            else:
                on_bad(prefix + entry.name, BadFileError(entry.path, "is not a readable file"))
        elif not _is_side_file(entry.name):
            known = ", ".join(suffix.lstrip(".") for suffix in sorted(IMAGE_SUFFIXES))
            on_bad(
                prefix + entry.name,
                BadFileError(
                    entry.path, "does not have an image suffix", f"convert it to one of {known}, or remove it"
                ),
            )


def _entered(folder: str, entered: dict[tuple[int, int], str]) -> list[os.DirEntry[str]]:
    """Return a folder's entries, once."""
    try:
        status = os.stat(folder)
    except OSError as error:
        raise _unreadable(folder, error) from error
    identity = (status.st_dev, status.st_ino)
    earlier = entered.get(identity)
    if earlier is not None:
        contains = folder.startswith(os.path.join(earlier, ""))
        raise InputError(
            f"{folder} links to a folder that contains it; remove the link"
            if contains
            else f"{folder} and {earlier} are the same folder; remove one of the links"
        )
    entered[identity] = folder
    return _entries(Path(folder))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that may not be read
        return False


def _file_status(entry: os.DirEntry[str]) -> os.stat_result | None:
    with contextlib.suppress(OSError):
        if entry.is_file():
            return entry.stat()
    return None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return a folder's visible entries, sorted by name: the file system's order is arbitrary."""
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted((e for e in visible if e.name.lower() not in _SIDE_NAMES), key=lambda entry: entry.name)


def _unreadable(folder: str | Path, error: OSError) -> InputError:
    return InputError(f"the folder {folder} cannot be read: {error.strerror}")


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _is_side_file(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in _SIDE_SUFFIXES
