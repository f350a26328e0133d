"""scikit-learn's bundled handwritten digits as images."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.splits import HELD_OUT_NOTE, held_out_split

_BRIGHTEST = 16


def load(data_dir: Path) -> Dataset:
    """Return 1,438 training and 359 test images, uint8 (N, 8, 8, 1), gray values 0..16 scaled to 0..255.

    Args:
        data_dir: Not used: the data come with scikit-learn.
    """
    table = _bundled_table()
    images = np.round(table[:, :-1] * (255 / _BRIGHTEST)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = table[:, -1].astype(np.int64)
    train, test = held_out_split(len(images))
    return Dataset(
        "digits",
        images[train],
        labels[train],
        images[test],
        labels[test],
        tuple(str(digit) for digit in range(10)),
        ("affine",),
        source={"kind": "scikit-learn's load_digits", "test split": HELD_OUT_NOTE},
    )


def _bundled_table() -> np.ndarray:
    """Return scikit-learn's table (1797, 65): 64 gray values 0..16 and the label."""
    # Its file is read directly: importing sklearn takes seconds, and a run may not need it otherwise.
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    bundled = load_digits()
    return np.column_stack([bundled.data, bundled.target])
