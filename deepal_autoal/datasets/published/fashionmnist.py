"""FashionMNIST, read from torchvision's folder layout or downloaded into it."""

from __future__ import annotations

from pathlib import Path

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.published.idx_dataset import load_idx_dataset


def load(data_dir: Path) -> Dataset:
    """Return 60,000 training and 10,000 test images, uint8 (N, 28, 28, 1) (see `load_idx_dataset`).

    Source: Xiao, Rasul & Vollgraf 2017, Fashion-MNIST.
    """
    from torchvision.datasets import FashionMNIST

    return load_idx_dataset("fashionmnist", "FashionMNIST", tuple(FashionMNIST.classes), data_dir)
