"""BreakHis: microscopic images of breast tumors, benign or malignant; read from its folders, split by patient."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.bad_files import BadFile
from deepal_autoal.datasets.files.image_files import ImageFile, image_dataset
from deepal_autoal.datasets.published.extracted import SIDE, extracted_folder
from deepal_autoal.datasets.user_data.image_folder import images_by_class
from deepal_autoal.errors import InputError
from deepal_autoal.numerics.random_streams import numpy_stream

# Kaggle's archive has the folder twice.
FOLDERS = ("BreaKHis_v1", "BreaKHis_v1/BreaKHis_v1")
PART = "histology_slides/breast"
SOURCE = "https://web.inf.ufpr.br/vri/databases/breast-cancer-histopathological-database-breakhis/"

CLASSES = ("benign", "malignant")
TEST_SHARE = 0.3

# class/SOB/type/patient/magnification/file, where SOB_B_A_14-22549AB is slide 22549 of 2014, part AB. The parts of a
# slide, also of one that is listed under two types, count as one patient.
_DEPTH = 6
_PATIENT = re.compile(r"SOB_[BM]_[A-Z]+_(\d+-\d+)[A-Z]*", re.IGNORECASE)


def load(data_dir: Path, image_size: tuple[int, int] = (SIDE, SIDE), *, skip_bad: bool = False) -> Dataset:
    """Return 7,909 images of all four magnifications, uint8 (N, 224, 224, 3), 30% of each class's patients for testing.

    The split depends on the patients' names alone, so runs with all seeds share one test set. DeepAL+ splits 70:30 too,
    but image by image, which puts images of one slide into both splits; the dataset's authors split by patient.

    Source: Spanhol et al. 2016, A dataset for breast cancer histopathological image classification, IEEE TBME 63(7).

    Args:
        data_dir: Holds ``BreaKHis_v1/histology_slides/breast/{benign,malignant}/SOB/<type>/<patient>/<N>X/*.png``.
        image_size: Height and width that every image is brought to.
        skip_bad: Whether to go on without images that cannot be used.

    Raises:
        InputError: If the folders are missing or arranged in another way, or an image is damaged; one line names it.
    """
    folder = extracted_folder("breakhis", data_dir, FOLDERS, PART, SOURCE)
    bad: list[BadFile] = []
    files = images_by_class(folder / PART, f"{PART}/", bad)
    others = {file.label for file in files} ^ set(CLASSES)
    if others:
        raise InputError(f"{folder / PART} must hold the folders benign and malignant, not {min(others)}, with images")
    patients = {file.relative: _patient(folder, file) for file in files}
    held_out = held_out_patients({patients[file.relative]: file.label for file in files})
    parts: tuple[list[ImageFile], list[ImageFile]] = ([], [])
    for file in files:
        parts[patients[file.relative] in held_out].append(file)
    data = image_dataset("BreakHis folder", folder, folder, parts[0], parts[1], image_size, bad=bad, skip_bad=skip_bad)
    note = f"{TEST_SHARE:.0%} of each class's patients by a fixed stream: {', '.join(sorted(held_out))}"
    source = {**data.source, "test split": note}
    return replace(data, name="breakhis", augmentation=("crop", "flip"), source=source)


def held_out_patients(labels: Mapping[str, str]) -> set[str]:
    """Return the patients of the test set: of each class a share of `TEST_SHARE`, at least one, at random.

    Args:
        labels: The class of each patient.

    Raises:
        InputError: If a class has fewer than two patients.
    """
    stream = numpy_stream("breakhis")
    held_out: set[str] = set()
    for label in CLASSES:
        names = sorted(patient for patient, own in labels.items() if own == label)
        if len(names) < 2:
            raise InputError(f"breakhis: class {label} has images of {len(names)} patients; at least two are needed")
        held_out |= set(_drawn(names, stream.permutation(len(names)).tolist()))
    return held_out


def _drawn(names: Sequence[str], order: Sequence[int]) -> list[str]:
    return [names[place] for place in order[: max(1, round(TEST_SHARE * len(names)))]]


def _patient(folder: Path, file: ImageFile) -> str:
    parts = file.relative.removeprefix(f"{PART}/").split("/")
    found = _PATIENT.fullmatch(parts[3]) if len(parts) == _DEPTH else None
    if found is None:
        raise InputError(
            f"{folder / file.relative} is not in <class>/SOB/<type>/SOB_<class>_<type>_<year>-<slide>/<N>X; restore "
            "the original folders"
        )
    return found[1]
