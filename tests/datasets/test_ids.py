"""The samples' own names: where they come from, and that they stay with their rows."""

import dataclasses

import numpy as np
import pytest

from deepal_autoal import load_dataset
from deepal_autoal.datasets.changes import PoolChanges
from deepal_autoal.errors import InputError


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_an_npz_keeps_names_through_the_held_out_split(tmp_path):
    x = np.arange(20, dtype=np.float32).reshape(20, 1)
    names = np.array([f"sample-{row}" for row in range(20)])
    data = load_dataset(save(tmp_path / "a.npz", x=x, y=np.arange(20) % 2, ids=names))
    assert len(data.ids_train) == 16 and len(data.ids_test) == 4
    for array, ids in ((data.x_train, data.ids_train), (data.x_test, data.ids_test)):
        assert [f"sample-{int(value)}" for value in array[:, 0]] == ids.tolist()


def test_a_given_test_split_has_its_own_names(tmp_path):
    x = np.eye(4, dtype=np.float32)
    file = save(tmp_path / "a.npz", x=x, y=[0, 1, 0, 1], x_test=x[:2], y_test=[0, 1], ids=list("abcd"),
                ids_test=np.array([b"y", b"z"]))  # fmt: skip
    data = load_dataset(file)
    assert data.ids_train.tolist() == list("abcd") and data.ids_test.tolist() == ["y", "z"]


def test_names_are_optional(tmp_path):
    data = load_dataset(save(tmp_path / "a.npz", x=np.eye(4, dtype=np.float32), y=[0, 1, 0, 1]))
    assert data.ids_train is None and data.ids_test is None


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b"], r"ids is <U1 \(2,\); save one string per sample"),
        ([1, 2, 3, 4], "save one string per sample"),
        (["a", "b", "a", "c"], "contains a duplicate"),
    ],
)
def test_invalid_names_are_refused(tmp_path, ids, message):
    file = save(tmp_path / "a.npz", x=np.eye(4, dtype=np.float32), y=[0, 1, 0, 1], ids=ids, x_test=np.eye(4, dtype="f"),
                y_test=[0, 1, 0, 1])  # fmt: skip
    with pytest.raises(InputError, match=message):
        load_dataset(file)


def test_a_dataset_checks_names(blob_data):
    with pytest.raises(InputError, match="ids_train must be an array of 120 strings"):
        dataclasses.replace(blob_data, ids_train=np.arange(120))


def test_copies_have_no_names(blob_data):
    named = dataclasses.replace(blob_data, ids_train=np.array([f"{row}" for row in range(120)]))
    assert PoolChanges(duplicates=2).apply(named, 0)[0].ids_train is None
    assert PoolChanges(label_noise=0.1).apply(named, 0)[0].ids_train is named.ids_train


def test_class_names_define_what_the_numbers_mean(tmp_path):
    """They define the order, and classes without training samples count too."""
    file = save(tmp_path / "a.npz", x=np.eye(4, dtype="f"), y=[2, 0, 2, 0], x_test=np.eye(4, dtype="f"),
                y_test=[1, 1, 0, 2], class_names=["zebra", "ant", "-1"])  # fmt: skip
    data = load_dataset(file)
    assert data.class_names == ("zebra", "ant", "-1")
    assert data.y_train.tolist() == [2, 0, 2, 0] and data.y_test.tolist() == [1, 1, 0, 2]


@pytest.mark.parametrize(
    ("y", "names", "message"),
    [
        ([0, 1, 2, 0], ["a", "b"], r"y holds numbers outside 0\.\.1"),
        ([0, 1, -1, 0], ["a", "b"], r"y holds numbers outside 0\.\.1"),
        (["a", "b", "a", "b"], ["a", "b"], "with class_names, save class numbers"),
        ([0, 1, 0, 1], [1, 2], "save one string per class"),
        ([0, 1, 0, 1], ["a", "a"], "contains a duplicate"),
    ],
)
def test_numbers_and_class_names_must_match(tmp_path, y, names, message):
    with pytest.raises(InputError, match=message):
        load_dataset(save(tmp_path / "a.npz", x=np.eye(4, dtype="f"), y=y, class_names=names))
