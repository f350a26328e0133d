"""The table: complete, unchanged, and always split the same way."""

import numpy as np
from sklearn.datasets import load_breast_cancer

from deepal_autoal import load_dataset, run


def test_table_and_split():
    data, table = load_dataset("breast-cancer"), load_breast_cancer()
    assert data.x_train.shape == (369, 30) and data.x_test.shape == (200, 30) and data.x_train.dtype == np.float64
    assert data.class_names == ("malignant", "benign")
    whole = [(*row, label) for row, label in zip(table.data.tolist(), table.target.tolist(), strict=True)]
    ours = [
        (*row, label)
        for rows, labels in ((data.x_train, data.y_train), (data.x_test, data.y_test))
        for row, label in zip(rows.tolist(), labels.tolist(), strict=True)
    ]
    assert sorted(ours) == sorted(whole)
    # Both classes in both parts, in about the table's shares.
    for labels in (data.y_train, data.y_test):
        assert abs(labels.mean() - table.target.mean()) < 0.05


def test_the_split_is_the_published_one():
    # If it changes, numbers measured on it are no longer comparable.
    assert load_dataset("breast-cancer").fingerprint == "ce897277bc02b2701cf56ef8945b3dcb"


def test_a_run_learns_it_and_records_its_provider():
    result = run("kernel-herding", "breast-cancer", model="mlp", initial=20, batch_size=20, rounds=1, seed=0, threads=1)
    assert result.accuracy > 0.85
    assert result.config["dataset"]["source"]["test split"].startswith("200 of 569")
    assert "deepal-lowbudget" in result.config["plugins"]
