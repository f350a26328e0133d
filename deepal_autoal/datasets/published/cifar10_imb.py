"""CIFAR10-imb: CIFAR-10 with training classes of unequal size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.published.cifar import load_cifar10
from deepal_autoal.numerics.random_streams import numpy_stream


def load(data_dir: Path) -> Dataset:
    """Return CIFAR-10 with training classes 0..9 in the proportion 1:2:...:10, 27,500 images; the test set is whole.

    Which samples are kept depends on the labels alone, so runs with all seeds share one pool.

    Source: Zhan et al. 2022, A comparative survey of deep active learning (DeepAL+).
    """
    data = load_cifar10(data_dir)
    rows = kept_rows(data.y_train, data.n_classes)
    source = {**data.source, "kept": f"training classes 1:2:...:{data.n_classes} by a fixed stream"}
    return replace(data, name="cifar10-imb", x_train=data.x_train[rows], y_train=data.y_train[rows], source=source)


def kept_rows(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the rows to keep, int64 and ascending: the share (c + 1)/n_classes of class c, at least one sample.

    Args:
        labels: int64 (N,) in 0..n_classes-1.
    """
    stream = numpy_stream("cifar10-imb")
    kept = []
    for number in range(n_classes):
        rows = np.flatnonzero(labels == number)
        kept.append(stream.permutation(rows)[: max(1, len(rows) * (number + 1) // n_classes)])
    return np.sort(np.concatenate(kept))
