"""Datasets of MNIST's kind: four IDX files in torchvision's folder layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.download import DownloadError, download
from deepal_autoal.datasets.idx import read_idx
from deepal_autoal.errors import InputError

PARTS = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


@dataclass(frozen=True)
class IdxSource:
    """Where such a dataset lies and comes from.

    Attributes:
        folder: Its folder in the data folder, as torchvision calls it; the files lie in ``folder/raw``.
        mirrors: Addresses that the file names are appended to, tried in order.
        md5: Digests of the ``.gz`` files by part, a key of `PARTS`.
    """

    name: str
    folder: str
    mirrors: tuple[str, ...]
    md5: dict[str, str]
    class_names: tuple[str, ...]


def load_idx_dataset(source: IdxSource, data_dir: Path) -> Dataset:
    """Load the four files, plain or ``.gz`` as they lie; those that are absent are downloaded.

    They are looked for in ``data_dir/FOLDER/raw`` (torchvision's layout), then in ``data_dir/FOLDER``,
    ``data_dir/raw`` and ``data_dir`` itself. Existing files are never written to.

    Raises:
        InputError: If a file is absent and cannot be downloaded, or is damaged; one line names it.
    """
    usual = data_dir / source.folder / "raw"
    folder = usual
    for candidate in (usual, data_dir / source.folder, data_dir / "raw", data_dir):
        if any(_find(candidate, stem) for stem in PARTS.values()):
            folder = candidate
            break
    _download_absent(source, folder)
    arrays: dict[str, np.ndarray] = {}
    paths: dict[str, Path] = {}
    for part, stem in PARTS.items():
        path = _find(folder, stem)
        if path is None:
            raise InputError(f"{folder / stem} is gone; put it there again, plain or .gz")
        paths[part] = path
        arrays[part] = read_idx(path, 3 if part.startswith("x") else 1)
    for split in ("train", "test"):
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if len(images) != len(labels):
            raise InputError(
                f"{paths[f'x_{split}']} holds {len(images)} images but {paths[f'y_{split}'].name} {len(labels)} "
                "labels; remove both and get them anew"
            )
        if labels.max() >= len(source.class_names):
            raise InputError(
                f"{paths[f'y_{split}']} holds label {labels.max()}, but {source.name} has {len(source.class_names)} "
                "classes; remove it and get it anew"
            )
    return Dataset(
        source.name,
        arrays["x_train"][..., np.newaxis],
        arrays["y_train"].astype(np.int64),
        arrays["x_test"][..., np.newaxis],
        arrays["y_test"].astype(np.int64),
        source.class_names,
        source={"kind": "IDX files", "path": str(folder), "test split": "given"},
    )


def _find(folder: Path, stem: str) -> Path | None:
    """Return the plain file if there is one, else the compressed one; some archives write ``.idx`` for ``-idx``."""
    for name in (stem, stem.replace("-idx", ".idx")):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def _download_absent(source: IdxSource, folder: Path) -> None:
    absent = {part: f"{stem}.gz" for part, stem in PARTS.items() if _find(folder, stem) is None}
    try:
        for part, name in absent.items():
            download([mirror + name for mirror in source.mirrors], folder / name, source.md5[part])
    except DownloadError as error:
        raise InputError(
            f"{source.name} is not complete in {folder} and cannot be downloaded ({error}); put "
            f"{', '.join(absent.values())} there (plain or .gz), or choose the folder with --data-dir"
        ) from error
