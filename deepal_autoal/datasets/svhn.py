"""SVHN, the cropped house numbers, read from its MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.download import obtain
from deepal_autoal.errors import InputError, message_of

_SPLITS = ("train", "test")
_SIDE = 32
_CHANNELS = 3
_DIGITS = 10


def load(data_dir: Path) -> Dataset:
    """Return 73,257 training and 26,032 test images of the 10 digits, uint8 (N, 32, 32, 3).

    ``train_32x32.mat`` and ``test_32x32.mat`` are looked for in ``data_dir`` (torchvision's layout), then in its
    folders ``SVHN`` and ``svhn``; what is absent is downloaded.

    Source: Netzer et al. 2011, Reading digits in natural images with unsupervised feature learning.

    Raises:
        InputError: If a file is absent and cannot be downloaded, or is damaged; one line names it.
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
    except Exception as error:  # damaged files raise what they like, from zlib.error to TypeError
        raise InputError(
            f"{path} cannot be read as a MATLAB file ({message_of(error)}); remove it and get it anew"
        ) from error
    x, y = content.get("X"), content.get("y")
    if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):
        missing = "y" if isinstance(x, np.ndarray) else "X"
        raise InputError(f"{path} holds no array {missing}; remove it and get it anew")
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[:3] != (_SIDE, _SIDE, _CHANNELS):
        raise InputError(
            f"{path} holds no images uint8 (32, 32, 3, N) but {x.dtype} {x.shape}; remove it and get it anew"
        )
    labels = y.reshape(-1)
    if labels.dtype.kind not in "iuf" or len(labels) != x.shape[3]:
        raise InputError(
            f"{path} holds {x.shape[3]} images but labels {y.dtype} {y.shape}, not one a sample; remove it and "
            "get it anew"
        )
    wrong = labels[~np.isin(labels, np.arange(1, _DIGITS + 1))]
    if len(wrong):
        raise InputError(f"{path} holds label {wrong[0]}, but digits are 1 to 10 there; remove it and get it anew")
    # The file calls the digit 0 the tenth.
    return np.ascontiguousarray(x.transpose(3, 0, 1, 2)), labels.astype(np.int64) % _DIGITS
