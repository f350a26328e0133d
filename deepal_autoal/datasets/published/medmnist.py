"""The two-dimensional sets of MedMNIST, 28x28 pixels, read from their ``.npz`` files."""

# medmnist describes the sets. Its classes would read arrays into memory unchecked, and a download would replace a file
# that is not the official one.

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.download import obtain
from deepal_autoal.datasets.files.npz_members import member_names, read_members
from deepal_autoal.errors import InputError

_SIDE = 28
_SPLITS = ("train", "test")


def load(flag: str, data_dir: Path) -> Dataset:
    """Return a set's training split as the pool, and its test split, uint8 (N, 28, 28, C) with C = 1 or 3.

    The validation split is not used, as in AutoAL's Table 1. ``FLAG.npz`` is searched for in ``data_dir``
    (medmnist's layout), then in ``data_dir/medmnist``; if it is missing, it is downloaded.

    Source: Yang et al. 2023, MedMNIST v2, Scientific Data 10:41.

    Args:
        flag: medmnist's name for the set, such as ``"pathmnist"``.

    Raises:
        InputError: If the file is missing and cannot be downloaded, or is damaged (one line names it), or the set
            gives an image several labels.
    """
    # This takes seconds (pandas, scikit-learn) and creates the folder .medmnist in the user's home.
    from medmnist import INFO

    described = INFO[flag]
    if _is_multi_label(described):
        usable = sorted(name for name, other in INFO.items() if _is_flat(other) and not _is_multi_label(other))
        raise InputError(
            f"{flag} gives an image several labels at once, and only sets with one label per image can be used; "
            f"choose one of {', '.join(usable)}"
        )
    places = (data_dir / f"{flag}.npz", data_dir / "medmnist" / f"{flag}.npz")
    path = next((place for place in places if place.is_file()), places[0])
    obtain(flag, [described["url"]], path, described["MD5"])
    class_names = tuple(described["label"][str(number)] for number in range(len(described["label"])))
    arrays = _read(path)
    x_train, y_train = _checked(path, "train", arrays, described["n_channels"], len(class_names))
    x_test, y_test = _checked(path, "test", arrays, described["n_channels"], len(class_names))
    source = {"kind": "MedMNIST npz", "path": str(path), "test split": "given"}
    return Dataset(flag, x_train, y_train, x_test, y_test, class_names, source=source)


def _is_multi_label(described: dict[str, Any]) -> bool:
    return "multi-label" in described["task"]


def _is_flat(described: dict[str, Any]) -> bool:
    return not described["python_class"].endswith("3D")


def _read(path: Path) -> dict[str, np.ndarray]:
    names = [f"{split}_{kind}" for split in _SPLITS for kind in ("images", "labels")]
    try:
        with zipfile.ZipFile(path) as archive:
            members = member_names(path, archive)
            absent = [name for name in names if name not in members]
            if absent:
                raise InputError(f"{path} holds no {absent[0]}; delete it and download it again")
            return read_members(path, archive, {name: members[name] for name in names})
    except InputError:
        raise
    except Exception as error:  # damaged members raise anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{path} cannot be read as .npz ({reason}); delete it and download it again") from error


def _checked(
    path: Path, split: str, arrays: dict[str, np.ndarray], n_channels: int, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a split's images, uint8 (N, 28, 28, C), and labels, int64 (N,)."""
    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    shape = (_SIDE, _SIDE) if n_channels == 1 else (_SIDE, _SIDE, n_channels)
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        raise InputError(
            f"{path}: {split}_images is {images.dtype} {images.shape}, not uint8 (N, {', '.join(map(str, shape))}); "
            "delete the file and download it again"
        )
    if labels.dtype.kind not in "iu" or labels.shape != (len(images), 1):
        raise InputError(
            f"{path}: {split}_labels is {labels.dtype} {labels.shape}, not one class number per image "
            f"({len(images)}, 1); delete the file and download it again"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < n_classes:
        raise InputError(
            f"{path}: {split}_labels holds {labels.min()} to {labels.max()}, but there are {n_classes} classes; delete "
            "the file and download it again"
        )
    return images.reshape(*images.shape[:3], n_channels), labels[:, 0].astype(np.int64)


pathmnist = partial(load, "pathmnist")
chestmnist = partial(load, "chestmnist")
dermamnist = partial(load, "dermamnist")
octmnist = partial(load, "octmnist")
pneumoniamnist = partial(load, "pneumoniamnist")
retinamnist = partial(load, "retinamnist")
breastmnist = partial(load, "breastmnist")
bloodmnist = partial(load, "bloodmnist")
tissuemnist = partial(load, "tissuemnist")
organamnist = partial(load, "organamnist")
organcmnist = partial(load, "organcmnist")
organsmnist = partial(load, "organsmnist")
