"""User data as a CSV manifest: ``path,label[,split]``."""

from __future__ import annotations

import csv
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.bad_files import BadFile
from deepal_autoal.datasets.files.decoding import BadFileError
from deepal_autoal.datasets.files.image_files import MANIFEST, ImageFile, file_state, image_dataset
from deepal_autoal.datasets.files.tables import delimiter_of
from deepal_autoal.datasets.user_data.labels import check_written_labels, is_missing
from deepal_autoal.errors import InputError

_COLUMNS = ("path", "label", "split")
_SPLITS = ("train", "test")
_LONGEST_PATH = 1024

logger = logging.getLogger(__name__)


def load_manifest(manifest: Path, image_size: tuple[int, int] | None = None, *, skip_bad: bool = False) -> Dataset:
    """Load the images that a CSV file lists, in its order.

    The first line names the columns: ``path`` (relative to the manifest's folder, and inside it even after
    ``..`` and links are resolved), ``label`` and optionally ``split`` (``train`` or ``test``, in any case); they are
    separated by commas, semicolons or tabs. Without a test row a
    fifth is held out. Other columns are ignored with a warning.

    Args:
        manifest: The file.
        image_size: Height and width that every image is brought to; by default all must have one size.
        skip_bad: Whether to go on without images that cannot be used, missing ones included.

    Raises:
        InputError: If the file is not such a table, or an image cannot be used; the message names the line or file.
    """
    folder = manifest.parent
    lookup = FolderLookup(folder)
    files: dict[str, list[ImageFile]] = {"train": [], "test": []}
    bad: list[BadFile] = []
    splits: set[str] = set()
    lines: dict[str, int] = {}
    for line, path, label, split in _rows(manifest):
        where = f"{manifest}, line {line}"
        if not path or not label:
            raise InputError(f"{where}: {'the label' if path else 'the path'} is empty; fill it in")
        if is_missing(label):
            raise InputError(
                f"{where}: the label {label!r} stands for a missing one; remove the row, or rename the class"
            )
        if split not in _SPLITS:
            raise InputError(f"{where}: split is {split!r}; write train or test")
        first = lines.setdefault(os.path.normpath(path), line)
        if first != line:
            raise InputError(f"{where}: {path} is listed a second time (first in line {first}); remove one")
        try:
            files[split].append(ImageFile(path, label, file_state(lookup.status(path, where))))
        except BadFileError as error:
            bad.append(BadFile(path, label, error))
        splits.add(split)
    if "train" not in splits:
        raise InputError(f"{manifest} lists no training images; add rows" + (" with split train" if lines else ""))
    check_written_labels([file.label for split in _SPLITS for file in files[split]], str(manifest))
    return image_dataset(
        MANIFEST,
        manifest,
        folder,
        files["train"],
        files["test"] if "test" in splits else None,
        image_size,
        bad=bad,
        skip_bad=skip_bad,
    )


def _rows(manifest: Path) -> Iterator[tuple[int, str, str, str]]:
    """Yield (line number, path, label, split) of every row that is not blank."""
    try:
        with open(manifest, encoding="utf-8-sig", newline="") as file:
            delimiter = delimiter_of(file.readline())
            file.seek(0)
            reader = csv.reader(file, strict=True, delimiter=delimiter)
            header = [cell.strip().lower() for cell in next(reader, [])]
            if any(header.count(name) != 1 for name in _COLUMNS[:2]) or header.count("split") > 1:
                raise InputError(
                    f"{manifest}: the first line must name the columns, separated by commas, semicolons or tabs: "
                    f"path,label or path,label,split; it reads {','.join(header)[:60]!r}. For a table of features, say "
                    "which column holds the labels: --target COLUMN"
                )
            other = [name for name in header if name not in _COLUMNS]
            if other:
                logger.warning("%s: columns %s are not used; only %s are", manifest, other, ", ".join(_COLUMNS))
            columns = [header.index(name) if name in header else None for name in _COLUMNS]
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) != len(header):
                    raise InputError(
                        f"{manifest}, line {reader.line_num}: {len(row)} fields where the header names {len(header)}; "
                        "put fields that contain the separator in double quotes"
                    )
                path, label, split = ("train" if column is None else row[column].strip() for column in columns)
                yield reader.line_num, path, label, split.lower()
    except UnicodeDecodeError as error:
        raise InputError(f"{manifest} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{manifest}, line {reader.line_num}: {error}; save it as comma-separated text") from error
    except OSError as error:
        raise InputError(f"{manifest} cannot be read: {error.strerror}") from error


class FolderLookup:
    """Looks up files and rejects those outside a folder. Every parent folder is resolved once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = os.path.realpath(folder)
        self.parents: dict[str, bool] = {}

    def status(self, path: str, where: str) -> os.stat_result:
        """Return the file's status.

        Raises:
            InputError: If the path is absolute, very long or leads out of the folder.
            BadFileError: If it is not a readable file.
        """
        if len(path) > _LONGEST_PATH:
            raise InputError(f"{where}: {path[:60]!r}... is too long for a path; correct or remove the row")
        if "\0" in path or os.path.isabs(path):
            raise InputError(f"{where}: {path!r} must be a path relative to the manifest's folder")
        # Not normalized: after a link, ".." leads elsewhere than its text suggests.
        full = os.path.join(self.folder, path)
        if not self._parent_is_inside(os.path.dirname(full)) or (
            os.path.islink(full) and not self._is_inside(os.path.realpath(full))
        ):
            raise InputError(f"{where}: {path} leads out of the manifest's folder; move the file into it")
        try:
            status = os.stat(full)
        except OSError as error:
            raise BadFileError(
                f"{where}: {full}", f"cannot be read: {error.strerror}", "correct or remove the row"
            ) from error
        if not stat.S_ISREG(status.st_mode):
            raise BadFileError(f"{where}: {full}", "is not a file", "list image files only")
        return status

    def _parent_is_inside(self, parent: str) -> bool:
        if parent not in self.parents:
            self.parents[parent] = self._is_inside(os.path.realpath(parent))
        return self.parents[parent]

    def _is_inside(self, resolved: str) -> bool:
        return resolved == self.root or resolved.startswith(os.path.join(self.root, ""))
