"""Waterbirds: birds pasted on backgrounds that mostly, but not always, fit them; read from its folder."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.bad_files import BadFile
from deepal_autoal.datasets.files.decoding import BadFileError
from deepal_autoal.datasets.files.image_files import ImageFile, file_state, image_dataset
from deepal_autoal.datasets.published.extracted import SIDE, extracted_folder
from deepal_autoal.datasets.user_data.manifest import FolderLookup
from deepal_autoal.errors import InputError

# The name that its authors gave it, and that of the WILDS package.
FOLDERS = ("waterbird_complete95_forest2water2", "waterbirds_v1.0")
METADATA = "metadata.csv"
SOURCE = "https://nlp.stanford.edu/data/dro/waterbird_complete95_forest2water2.tar.gz"

CLASSES = ("landbird", "waterbird")
PLACES = ("land", "water")
GROUPS = tuple(f"{bird} on {place}" for bird in CLASSES for place in PLACES)

_TRAIN, _VALIDATION, _TEST = range(3)
_RANGES = {"y": len(CLASSES), "place": len(PLACES), "split": 3}


@dataclass(frozen=True)
class _Row:
    """A line of the table: ``y`` is the class, ``place`` the background."""

    line: int
    path: str
    y: int
    place: int
    split: int


def load(data_dir: Path, image_size: tuple[int, int] = (SIDE, SIDE), *, skip_bad: bool = False) -> Dataset:
    """Return 4,795 training and 5,794 test images of land and water birds, uint8 (N, 224, 224, 3).

    The test images have groups: class and background. In the training split the background fits 95% of the birds, in
    the test split half. The validation split is not used.

    Source: Sagawa et al. 2020, Distributionally robust neural networks, ICLR.

    Args:
        data_dir: Holds the folder ``waterbird_complete95_forest2water2`` with ``metadata.csv``.
        image_size: Height and width that every image is brought to.
        skip_bad: Whether to go on without images that cannot be used.

    Raises:
        InputError: If the folder is missing or the table or an image is damaged; one line names it.
    """
    folder = extracted_folder("waterbirds", data_dir, FOLDERS, METADATA, SOURCE)
    table = folder / METADATA
    lookup = FolderLookup(folder)
    files: dict[int, list[ImageFile]] = {_TRAIN: [], _TEST: []}
    bad: list[BadFile] = []
    groups: dict[str, int] = {}
    for row in _rows(table):
        where = f"{table}, line {row.line}"
        if row.path in groups:
            raise InputError(f"{where}: {row.path} is listed a second time; download the file again")
        groups[row.path] = row.y * len(PLACES) + row.place
        if row.split == _VALIDATION:
            continue
        try:
            state = file_state(lookup.status(row.path, where))
            files[row.split].append(ImageFile(row.path, CLASSES[row.y], state))
        except BadFileError as error:
            bad.append(BadFile(row.path, CLASSES[row.y], error))
    for split, name in ((_TRAIN, "training"), (_TEST, "test")):
        if not files[split]:
            raise InputError(f"{table} lists no {name} images that are there (split {split}); download the data again")
    data = image_dataset(
        "Waterbirds folder", folder, folder, files[_TRAIN], files[_TEST], image_size, bad=bad, skip_bad=skip_bad
    )
    assert data.ids_test is not None
    return replace(
        data,
        name="waterbirds",
        augmentation=("crop", "flip"),
        groups_test=np.array([groups[path] for path in data.ids_test]),
        group_names=GROUPS,
    )


def _rows(table: Path) -> Iterator[_Row]:
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = sorted({"img_filename", *_RANGES} - set(reader.fieldnames or ()))
            if missing:
                raise InputError(f"{table} has no column {missing[0]}; download it again")
            for cells in reader:
                where = f"{table}, line {reader.line_num}"
                path = cells["img_filename"]
                if not path:
                    raise InputError(f"{where}: img_filename is empty; download the file again")
                numbers = {}
                for name, n_values in _RANGES.items():
                    if cells[name] not in map(str, range(n_values)):
                        raise InputError(
                            f"{where}: {name} is {cells[name]!r}, not 0 to {n_values - 1}; download the file again"
                        )
                    numbers[name] = int(cells[name])
                yield _Row(reader.line_num, path, **numbers)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table} cannot be read as a table ({error}); download it again") from error
    except OSError as error:
        raise InputError(f"{table} cannot be read: {error.strerror}") from error
