from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from deepal_autoal.datasets.published import digits
from deepal_autoal.datasets.splits import held_out_split


@pytest.mark.parametrize("from_file", [True, False])
def test_digits_match_scikit_learn(monkeypatch: pytest.MonkeyPatch, from_file: bool) -> None:
    from sklearn.datasets import load_digits

    if not from_file:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    data = digits.load(Path("unused"))
    bundled = load_digits()
    train, test = held_out_split(1797)
    assert data.x_train.shape == (1438, 8, 8, 1) and data.x_test.shape == (359, 8, 8, 1)
    assert data.x_train.dtype == np.uint8 and data.x_train.min() == 0 and data.x_train.max() == 255
    for images, labels, rows in ((data.x_train, data.y_train, train), (data.x_test, data.y_test, test)):
        np.testing.assert_allclose(images[..., 0] / 255 * 16, bundled.images[rows], atol=0.04)
        np.testing.assert_array_equal(labels, bundled.target[rows])
    assert data.class_names == tuple("0123456789") and data.augmentation == ("affine",)
    assert data.class_counts == np.bincount(bundled.target[train]).tolist()


def test_the_file_is_found_without_importing_scikit_learn() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from deepal_autoal.datasets.published.digits import load; load(None); "
        "sys.exit(bool({'sklearn', 'torch', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
