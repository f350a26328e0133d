"""EMNIST by class: digits, capital and small letters, read from torchvision's folder layout or from the archive."""

# torchvision's class reads only extracted files, all of them into memory, and leaves the images transposed.

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.download import obtain
from deepal_autoal.datasets.files.idx import read_idx, read_packed_idx
from deepal_autoal.datasets.published.idx_dataset import checked_idx_dataset, find_idx
from deepal_autoal.errors import InputError

SPLIT = "byclass"
STEMS = {
    f"{kind}_{part}": f"emnist-{SPLIT}-{part}-{contents}-ubyte"
    for part in ("train", "test")
    for kind, contents in (("x", "images-idx3"), ("y", "labels-idx1"))
}


def load(data_dir: Path) -> Dataset:
    """Return 697,932 training and 116,323 test images of 62 classes, uint8 (N, 28, 28, 1), upright.

    The four files, plain or ``.gz``, are searched for in ``data_dir/EMNIST/raw`` (torchvision's layout),
    ``data_dir/EMNIST`` and ``data_dir``, and within each in the folder ``gzip`` and in the archive, in this order.
    If they are missing, the archive is downloaded. Plain files are memory-mapped.

    Source: Cohen, Afshar, Tapson & van Schaik 2017, EMNIST: extending MNIST to handwritten letters.

    Raises:
        InputError: If the files are missing and cannot be downloaded, or are damaged; one line names the file.
    """
    from torchvision.datasets import EMNIST

    archive_name = EMNIST.url.rpartition("/")[2]
    places = (data_dir / "EMNIST" / "raw", data_dir / "EMNIST", data_dir)
    for place in places:
        for folder in (place, place / "gzip"):
            paths = {part: path for part, stem in STEMS.items() if (path := find_idx(folder, stem))}
            if len(paths) == len(STEMS):
                arrays = {part: read_idx(path, _n_dims(part)) for part, path in paths.items()}
                return _dataset(arrays, paths, folder, EMNIST)
        if (place / archive_name).is_file():
            return _from_archive(place / archive_name, EMNIST)
    archive = places[0] / archive_name
    obtain("emnist", [EMNIST.url], archive, EMNIST.md5, f" (or {', '.join(STEMS.values())}, plain or .gz)")
    return _from_archive(archive, EMNIST)


def _from_archive(archive: Path, described: type) -> Dataset:
    arrays, paths = {}, {}
    try:
        with zipfile.ZipFile(archive) as members:
            for part, stem in STEMS.items():
                name = f"gzip/{stem}.gz"
                if name not in members.namelist():
                    raise InputError(f"{archive} holds no {name}; delete it and download it again")
                paths[part] = archive / name
                with members.open(name) as file:
                    arrays[part] = read_packed_idx(paths[part], file, _n_dims(part))
    # RuntimeError and NotImplementedError: encryption, or a compression method that zipfile does not know.
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise InputError(f"{archive} cannot be read ({error}); delete it and download it again") from error
    return _dataset(arrays, paths, archive, described)


def _dataset(arrays: dict[str, np.ndarray], paths: dict[str, Path], origin: Path, described: type) -> Dataset:
    # The files store images transposed. Views, because plain files are mapped and may be read many times or never.
    upright = {part: array.transpose(0, 2, 1) if array.ndim == 3 else array for part, array in arrays.items()}
    class_names = tuple(described.classes_split_dict[SPLIT])  # type: ignore[attr-defined]
    return checked_idx_dataset("emnist", class_names, upright, paths, origin)


def _n_dims(part: str) -> int:
    return 3 if part.startswith("x") else 1
