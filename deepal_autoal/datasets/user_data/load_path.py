"""Loads a user's own data by path: chooses the reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.user_data.image_folder import load_image_folder
from deepal_autoal.datasets.user_data.manifest import load_manifest
from deepal_autoal.datasets.user_data.npz import load_npz
from deepal_autoal.errors import InputError

READERS: dict[str, Callable[[Path], Dataset]] = {".csv": load_manifest, ".npz": load_npz}


def load_path(path: Path) -> Dataset:
    """Load an image folder, a CSV manifest or an ``.npz`` file.

    Raises:
        InputError: If the path is none of these, or its data cannot be used.
    """
    if path.is_dir():
        return load_image_folder(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None or not path.is_file():
        raise InputError(f"{path} is not a dataset; give a folder of class folders, a .csv manifest or an .npz file")
    return reader(path)
