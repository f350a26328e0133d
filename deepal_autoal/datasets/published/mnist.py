"""MNIST, read from torchvision's folder layout or downloaded into it."""

from __future__ import annotations

from pathlib import Path

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.published.idx_dataset import load_idx_dataset


def load(data_dir: Path) -> Dataset:
    """Return 60,000 training and 10,000 test images, uint8 (N, 28, 28, 1) (see `load_idx_dataset`)."""
    return load_idx_dataset("mnist", "MNIST", tuple("0123456789"), data_dir, also=("raw", "."))
