"""SVHN, the cropped house numbers, read from its MATLAB files."""

# torchvision's class, which calls the same loadmat, reads only the official files (by their digests).

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.download import obtain
from deepal_autoal.errors import InputError, error_message

_SPLITS = ("train", "test")
_SIDE = 32
_CHANNELS = 3
_DIGITS = 10


def load(data_dir: Path) -> Dataset:
    """Return 73,257 training and 26,032 test images of the 10 digits, uint8 (N, 32, 32, 3).

    ``train_32x32.mat`` and ``test_32x32.mat`` are searched for in ``data_dir`` (torchvision's layout), then in its
    folders ``SVHN`` and ``svhn``; missing files are downloaded.

    Source: Netzer et al. 2011, Reading digits in natural images with unsupervised feature learning.

    Raises:
        InputError: If a file is missing and cannot be downloaded, or is damaged; one line names it.
    """
    from torchvision.datasets import SVHN

    files = {split: SVHN.split_list[split] for split in _SPLITS}
    places = (data_dir, data_dir / "SVHN", data_dir / "svhn")
    present = [place for place in places if any((place / file).is_file() for _, file, _ in files.values())]
    folder = present[0] if present else data_dir
    for url, file, md5 in files.values():
        obtain("svhn", [url], folder / file, md5)
    arrays = {split: _read(folder / files[split][1]) for split in _SPLITS}
    return Dataset(
        "svhn",
        *arrays["train"],
        *arrays["test"],
        class_names=tuple(str(digit) for digit in range(_DIGITS)),
        source={"kind": "MATLAB files", "path": str(folder), "test split": "given"},
    )


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return images, uint8 (N, 32, 32, 3), and digits, int64 (N,)."""
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=("X", "y"))
    except Exception as error:  # damaged files raise anything, from zlib.error to TypeError
        raise InputError(
            f"{path} cannot be read as a MATLAB file ({error_message(error)}); delete it and download it again"
        ) from error
    x, y = content.get("X"), content.get("y")
    if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):
        missing = "y" if isinstance(x, np.ndarray) else "X"
        raise InputError(f"{path} holds no array {missing}; delete it and download it again")
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[:3] != (_SIDE, _SIDE, _CHANNELS):
        raise InputError(
            f"{path} holds {x.dtype} {x.shape}, not images uint8 (32, 32, 3, N); delete it and download it again"
        )
    labels = y.reshape(-1)
    if labels.dtype.kind not in "iuf" or len(labels) != x.shape[3]:
        raise InputError(
            f"{path} holds {x.shape[3]} images but labels {y.dtype} {y.shape}, not one per sample; delete it "
            "and download it again"
        )
    wrong = labels[~np.isin(labels, np.arange(1, _DIGITS + 1))]
    if len(wrong):
        raise InputError(f"{path} holds label {wrong[0]}, but its digits are 1 to 10; delete it and download it again")
    # The file numbers the digit 0 as 10.
    return np.ascontiguousarray(x.transpose(3, 0, 1, 2)), labels.astype(np.int64) % _DIGITS
