"""MNIST, read from torchvision's folder layout or downloaded into it."""

from __future__ import annotations

from pathlib import Path

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.published.idx_dataset import IdxSource, load_idx_dataset

SOURCE = IdxSource(
    name="mnist",
    folder="MNIST",
    # torchvision's mirrors and digests, copied to avoid waiting for its import.
    mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
    md5={
        "x_train": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "y_train": "d53e105ee54ea40749a09fcbcd1e9432",
        "x_test": "9fb629c4189551a2d022fa330f9573f3",
        "y_test": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    class_names=tuple(str(digit) for digit in range(10)),
    also=("raw", "."),
)


def load(data_dir: Path) -> Dataset:
    """Return 60,000 training and 10,000 test images, uint8 (N, 28, 28, 1) (see `load_idx_dataset`)."""
    return load_idx_dataset(SOURCE, data_dir)
