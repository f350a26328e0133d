"""Datasets in MNIST's format: four IDX files in torchvision's folder layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.download import DownloadError, download
from deepal_autoal.datasets.files.idx import read_idx
from deepal_autoal.errors import InputError

PARTS = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def load_idx_dataset(
    name: str, folder_name: str, class_names: tuple[str, ...], data_dir: Path, also: tuple[str, ...] = ()
) -> Dataset:
    """Load the four files, plain or ``.gz``; missing ones are downloaded.

    They are searched for in ``data_dir/FOLDER_NAME/raw`` (torchvision's layout), in ``data_dir/FOLDER_NAME`` and in
    ``also``. Existing files are never written to.

    Args:
        folder_name: The name of torchvision's class, which is also that of its folder. The class has the files' URLs
            and digests.
        also: More folders in the data folder to search. Datasets in this format share file names, so only a dataset's
            own folders are safe.

    Raises:
        InputError: If a file is missing and cannot be downloaded, or is damaged; one line names it.
    """
    usual = data_dir / folder_name / "raw"
    folder = usual
    for candidate in (usual, usual.parent, *(data_dir / place for place in also)):
        if any(find_idx(candidate, stem) for stem in PARTS.values()):
            folder = candidate
            break
    _download_absent(name, folder_name, folder)
    arrays: dict[str, np.ndarray] = {}
    paths: dict[str, Path] = {}
    for part, stem in PARTS.items():
        path = find_idx(folder, stem)
        if path is None:
            raise InputError(f"{folder / stem} has disappeared; put it back, plain or .gz")
        paths[part] = path
        arrays[part] = read_idx(path, 3 if part.startswith("x") else 1)
    return checked_idx_dataset(name, class_names, arrays, paths, folder)


def checked_idx_dataset(
    name: str, class_names: tuple[str, ...], arrays: Mapping[str, np.ndarray], paths: Mapping[str, Path], origin: Path
) -> Dataset:
    """Return the dataset of four arrays by part, images uint8 (N, H, W) and labels uint8 (N,), checked for consistency.

    Args:
        paths: The arrays' files, for messages.
        origin: Their common folder or archive, for the record.

    Raises:
        InputError: If images and labels differ in number, or a label is not a class.
    """
    for split in ("train", "test"):
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if len(images) != len(labels):
            raise InputError(
                f"{paths[f'x_{split}']} holds {len(images)} images but {paths[f'y_{split}'].name} {len(labels)} "
                "labels; delete both and download them again"
            )
        if labels.max() >= len(class_names):
            raise InputError(
                f"{paths[f'y_{split}']} holds label {labels.max()}, but {name} has {len(class_names)} "
                "classes; delete it and download it again"
            )
    return Dataset(
        name,
        arrays["x_train"][..., np.newaxis],
        arrays["y_train"].astype(np.int64),
        arrays["x_test"][..., np.newaxis],
        arrays["y_test"].astype(np.int64),
        class_names,
        ("affine",),
        source={"kind": "IDX files", "path": str(origin), "test split": "given"},
    )


def find_idx(folder: Path, stem: str) -> Path | None:
    """Return the plain file if there is one, else the compressed one; some archives write ``.idx`` for ``-idx``."""
    for name in (stem, stem.replace("-idx", ".idx")):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def _download_absent(dataset: str, class_name: str, folder: Path) -> None:
    absent = [f"{stem}.gz" for stem in PARTS.values() if find_idx(folder, stem) is None]
    if not absent:
        return
    import torchvision.datasets

    described = getattr(torchvision.datasets, class_name)
    digests = dict(described.resources)
    try:
        for name in absent:
            download([mirror + name for mirror in described.mirrors], folder / name, digests[name])
    except DownloadError as error:
        raise InputError(
            f"{dataset} is not complete in {folder} and cannot be downloaded ({error}); put {', '.join(absent)} there "
            "(plain or .gz), or choose the folder with --data-dir"
        ) from error
