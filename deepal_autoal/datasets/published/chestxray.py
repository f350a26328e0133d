"""Kaggle's chest X-rays of children with and without pneumonia, in full size; read from its folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.bad_files import BadFile
from deepal_autoal.datasets.files.image_files import image_dataset
from deepal_autoal.datasets.published.extracted import SIDE, extracted_folder
from deepal_autoal.datasets.user_data.image_folder import images_by_class
from deepal_autoal.errors import InputError

# Kaggle's archive has the folder twice.
FOLDERS = ("chest_xray", "chest_xray/chest_xray")
SPLITS = ("train", "test")
SOURCE = "https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia"

CLASSES = {"NORMAL", "PNEUMONIA"}


def load(data_dir: Path, image_size: tuple[int, int] = (SIDE, SIDE), *, skip_bad: bool = False) -> Dataset:
    """Return 5,216 training and 624 test images of 2 classes, uint8 (N, 224, 224, C), C = 1 if all are gray.

    The 16 images of ``val`` are not used.

    Source: Kermany et al. 2018, Identifying medical diagnoses and treatable diseases by image-based deep learning,
    Cell 172(5).

    Args:
        data_dir: Holds ``chest_xray/{train,test}/{NORMAL,PNEUMONIA}/*.jpeg``.
        image_size: Height and width that every image is brought to.
        skip_bad: Whether to go on without images that cannot be used.

    Raises:
        InputError: If a folder is missing, or an image is damaged; one line names it.
    """
    folder = extracted_folder("chestxray", data_dir, FOLDERS, SPLITS[0], SOURCE)
    bad: list[BadFile] = []
    parts = []
    for split in SPLITS:
        if not (folder / split).is_dir():
            raise InputError(f"{folder} holds no folder {split}; extract the data again")
        parts.append(images_by_class(folder / split, f"{split}/", bad))
        others = {file.label for file in parts[-1]} ^ CLASSES
        if others:
            raise InputError(f"{folder / split} must hold images in NORMAL and PNEUMONIA; {min(others)} is different")
    data = image_dataset(
        "chest X-ray folder", folder, folder, parts[0], parts[1], image_size, bad=bad, skip_bad=skip_bad
    )
    return replace(data, name="chestxray", augmentation=("crop",))
