from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.errors import InputError
from deepal_autoal.numerics.row_blocks import BlockSize, first_unusable_row


def parts(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    made: dict[str, Any] = {
        "name": "toy",
        "x_train": rng.integers(0, 256, (8, 5, 6, 3), dtype=np.uint8),
        "y_train": np.array([0, 1, 2, 0, 1, 2, 0, 0]),
        "x_test": rng.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8),
        "y_test": np.array([0, 1, 2, 0]),
        "class_names": ("a", "b", "c"),
    }
    return {**made, **changes}


def vectors(dtype: str = "float32") -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return parts(x_train=rng.normal(size=(8, 4)).astype(dtype), x_test=rng.normal(size=(4, 4)).astype(dtype))


def test_images_are_described() -> None:
    data = Dataset(**parts(augmentation=["crop", "flip"], y_train=np.array([0, 1, 2, 0, 1, 2, 0, 0], np.uint8)))
    assert data.is_image and data.n_classes == 3
    assert data.input_shape == (3, 5, 6)
    assert data.class_counts == [4, 2, 2]
    assert data.y_train.dtype == np.int64
    described = json.loads(json.dumps(data.describe()))
    assert described["n_train"] == 8 and described["n_test"] == 4
    assert described["class_names"] == ["a", "b", "c"] and described["augmentation"] == ["crop", "flip"]
    assert described["fingerprint"] == data.fingerprint


def test_only_embeddings_are_described_as_embeddings() -> None:
    plain, said = Dataset(**vectors()), Dataset(**vectors(), is_embeddings=True)
    assert not plain.is_embeddings and "is_embeddings" not in plain.describe()
    assert said.describe() == {**plain.describe(), "is_embeddings": True}
    with pytest.raises(InputError, match="is_embeddings is for vectors"):
        Dataset(**parts(is_embeddings=True))


def test_images_are_shifted_by_default_and_vectors_are_not() -> None:
    assert Dataset(**parts()).augmentation == ("crop",)
    assert Dataset(**parts(augmentation=())).augmentation == ()
    assert Dataset(**vectors()).augmentation == ()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_vectors_are_accepted_and_have_native_byte_order(dtype: str) -> None:
    data = Dataset(**vectors(dtype))
    assert not data.is_image and data.input_shape == (4,)
    assert data.x_train.dtype.isnative
    np.testing.assert_array_equal(data.x_train, vectors(dtype)["x_train"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": [[1.0]]}, "x_train is list"),
        ({"x_train": np.zeros((8, 5, 6), np.uint8)}, "x_train is uint8"),
        ({"x_train": np.zeros((8, 5, 6, 3), np.float32)}, "x_train is float32"),
        ({"x_train": np.zeros((8, 5), np.int64)}, "x_train is int64"),
        ({"x_train": np.zeros((8, 5, 0, 3), np.uint8)}, "x_train is empty"),
        ({"x_test": np.zeros((0, 5, 6, 3), np.uint8), "y_test": np.zeros(0, int)}, "x_test is empty"),
        ({"x_test": np.zeros((4, 6, 6, 3), np.uint8)}, "use one dtype and sample shape"),
        ({"y_train": np.zeros(7, int)}, "7 labels for 8 samples"),
        ({"y_train": np.zeros((8, 1), int)}, "y_train is int64"),
        ({"y_train": np.zeros(8)}, "y_train is float64"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 2, 0, 3])}, r"labels 0\.\.3"),
        ({"y_test": np.array([0, 1, 2, -1])}, r"labels -1\.\.2"),
        ({"y_train": np.ones(8, int)}, r"only one class \(b\)"),
        ({"class_names": ("a", "b", "a")}, "contains a duplicate"),
        ({"augmentation": ("mixup",)}, "augmentation"),
        ({**vectors(), "augmentation": ("flip",)}, "augmentation"),
    ],
)
def test_bad_arrays_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Dataset(**parts(**changes))
    assert "toy" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_unusable_features_are_refused_with_array_and_row(value: float, dtype: str) -> None:
    bad = vectors(dtype)
    bad["x_test"][2, 1] = value
    with pytest.raises(InputError, match=r"x_test .*row 2"):
        Dataset(**bad)


def test_features_beyond_float32_are_refused() -> None:
    bad = vectors("float64")
    bad["x_train"][5, 0] = 1e39
    with pytest.raises(InputError, match=r"x_train .*row 5"):
        Dataset(**bad)


def test_the_unusable_row_is_found_in_a_later_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepal_autoal.numerics.row_blocks.READING", BlockSize(64))
    array = np.zeros((100, 4), np.float32)
    assert first_unusable_row(array) is None
    array[[41, 77], 3] = np.nan
    assert first_unusable_row(array) == 41


def test_a_class_without_training_samples_causes_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        data = Dataset(**parts(class_names=("a", "b", "c", "ghost")))
    assert data.class_counts == [4, 2, 2, 0]
    assert "ghost" in caplog.text


def test_fingerprint_depends_on_all_content_and_nothing_else(tmp_path: Path) -> None:
    original = Dataset(**parts())
    assert Dataset(**parts(name="other", source={"a": "b"})).fingerprint == original.fingerprint
    np.save(tmp_path / "x.npy", original.x_train)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert Dataset(**parts(x_train=mapped)).fingerprint == original.fingerprint
    assert Dataset(**parts(x_train=np.asfortranarray(mapped))).fingerprint == original.fingerprint
    seen = {original.fingerprint}
    for name in ("x_train", "y_train", "x_test", "y_test"):
        changed = parts()[name].copy()
        changed.flat[0] = changed.flat[0] + 1
        seen.add(Dataset(**parts(**{name: changed})).fingerprint)
    seen.add(Dataset(**parts(class_names=("a", "b", "d"))).fingerprint)
    seen.add(Dataset(**parts(x_train=parts()["x_train"].reshape(8, 6, 5, 3), x_test=np.zeros((4, 6, 5, 3), np.uint8)))
             .fingerprint)  # fmt: skip
    assert len(seen) == 7


@pytest.mark.parametrize("made", [parts, vectors])
def test_the_fingerprint_is_of_what_the_arrays_hold_when_it_is_asked_for(made: Any) -> None:
    data, changed = Dataset(**made()), made()
    data.x_train[0] = changed["x_train"][0] = 1
    assert data.fingerprint == Dataset(**changed).fingerprint


def test_fingerprint_of_big_and_little_endian_features_agree() -> None:
    assert Dataset(**vectors(">f8")).fingerprint == Dataset(**vectors("<f8")).fingerprint
