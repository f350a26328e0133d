"""FashionMNIST and EMNIST: files in MNIST's format under torchvision's names, EMNIST's also in an archive."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.published import emnist, fashionmnist
from deepal_autoal.errors import InputError

pytestmark = pytest.mark.usefixtures("network")

Encode = Callable[[np.ndarray], bytes]


def refused(load: Callable[[Path], Dataset], data_dir: Path, message: str) -> str:
    with pytest.raises(InputError, match=message) as caught:
        load(data_dir)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def arrays(n_train: int = 70, n_test: int = 62) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    made = {}
    for part, n in (("train", n_train), ("test", n_test)):
        made[emnist.STEMS[f"x_{part}"]] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        made[emnist.STEMS[f"y_{part}"]] = (np.arange(n) % 62).astype(np.uint8)
    return made


def packed(made: dict[str, np.ndarray], encode: Encode) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("gzip/emnist-balanced-mapping.txt", "0 48")
        for stem, array in made.items():
            archive.writestr(f"gzip/{stem}.gz", gzip.compress(encode(array)))
    return buffer.getvalue()


def check(data: Dataset) -> None:
    made = arrays()
    for part, images, labels in (("train", data.x_train, data.y_train), ("test", data.x_test, data.y_test)):
        assert images.shape[1:] == (28, 28, 1)
        for image, stored in zip(images, made[emnist.STEMS[f"x_{part}"]], strict=True):
            np.testing.assert_array_equal(image[..., 0], stored.T)
        np.testing.assert_array_equal(labels, made[emnist.STEMS[f"y_{part}"]])
    assert data.name == "emnist" and data.augmentation == ("affine",)
    assert "".join(data.class_names) == "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("place", ["EMNIST/raw", "EMNIST/raw/gzip", "EMNIST", "gzip", "."])
def test_emnist_files_are_read_in_place(
    tmp_path: Path, idx_bytes: Encode, snapshot: Any, place: str, compressed: bool
) -> None:
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for stem, array in arrays().items():
        raw = gzip.compress(idx_bytes(array)) if compressed else idx_bytes(array)
        (tmp_path / place / (f"{stem}.gz" if compressed else stem)).write_bytes(raw)
    before = snapshot(tmp_path)
    data = emnist.load(tmp_path)
    check(data)
    assert snapshot(tmp_path) == before and data.source["path"] == str(tmp_path / place)
    assert isinstance(data.x_train, np.memmap) == (not compressed)


@pytest.mark.parametrize("place", ["EMNIST/raw", "EMNIST", "."])
def test_emnist_is_read_from_the_archive(tmp_path: Path, idx_bytes: Encode, snapshot: Any, place: str) -> None:
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "gzip.zip").write_bytes(packed(arrays(), idx_bytes))
    before = snapshot(tmp_path)
    check(emnist.load(tmp_path))
    assert snapshot(tmp_path) == before


def test_torchvision_reads_the_same_emnist_transposed(tmp_path: Path, idx_bytes: Encode) -> None:
    (tmp_path / "EMNIST" / "raw").mkdir(parents=True)
    for stem, array in arrays().items():
        (tmp_path / "EMNIST" / "raw" / stem).write_bytes(idx_bytes(array))
    ours = emnist.load(tmp_path)
    for train, images, labels in ((True, ours.x_train, ours.y_train), (False, ours.x_test, ours.y_test)):
        theirs = datasets.EMNIST(tmp_path, "byclass", train=train)
        np.testing.assert_array_equal(theirs.data.numpy().transpose(0, 2, 1), images[..., 0])
        np.testing.assert_array_equal(theirs.targets.numpy(), labels)
        assert tuple(theirs.classes) == ours.class_names


def test_missing_emnist_without_network_is_explained_in_one_line(tmp_path: Path, idx_bytes: Encode) -> None:
    for stem, array in list(arrays().items())[:3]:  # three of four files are not enough
        (tmp_path / stem).write_bytes(idx_bytes(array))
    message = refused(emnist.load, tmp_path, "network is unreachable")
    assert f"in {tmp_path / 'EMNIST' / 'raw'} " in message and "put gzip.zip there" in message
    assert "--data-dir" in message and all(stem in message for stem in emnist.STEMS.values())


def test_emnist_is_downloaded_once(
    tmp_path: Path, idx_bytes: Encode, network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = network.files[datasets.EMNIST.url] = packed(arrays(), idx_bytes)
    monkeypatch.setattr(datasets.EMNIST, "md5", hashlib.md5(raw).hexdigest())
    check(emnist.load(tmp_path))
    check(emnist.load(tmp_path))
    assert (tmp_path / "EMNIST" / "raw" / "gzip.zip").read_bytes() == raw and len(network.asked) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:-100], "gzip.zip cannot be read"),
        (lambda raw: b"", "gzip.zip cannot be read"),
        (
            lambda raw: raw.replace(b"byclass-train-labels", b"byclass-train-lapels"),
            "holds no gzip/emnist-byclass-train-l",
        ),
        (lambda raw: raw[:3000] + bytes(500) + raw[3500:], "cannot be read|is truncated|is damaged"),
    ],
)
def test_a_damaged_archive_is_named(
    tmp_path: Path, idx_bytes: Encode, change: Callable[[bytes], bytes], message: str
) -> None:
    (tmp_path / "gzip.zip").write_bytes(change(packed(arrays(), idx_bytes)))
    assert refused(emnist.load, tmp_path, message).startswith(str(tmp_path / "gzip.zip"))


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("y_train", lambda labels: labels[:-1], "70 images but .* 69 labels"),
        ("y_test", lambda labels: labels + 1, "holds label 62, but emnist has 62 classes"),
        ("x_train", lambda images: images[:, 0], "not an IDX file"),
    ],
)
def test_damaged_members_are_named(
    tmp_path: Path,
    idx_bytes: Encode,
    archived: bool,
    part: str,
    change: Callable[[np.ndarray], np.ndarray],
    message: str,
) -> None:
    made = arrays()
    made[emnist.STEMS[part]] = change(made[emnist.STEMS[part]])
    if archived:
        (tmp_path / "gzip.zip").write_bytes(packed(made, idx_bytes))
    else:
        for stem, array in made.items():
            (tmp_path / stem).write_bytes(idx_bytes(array))
    assert refused(emnist.load, tmp_path, message).startswith(str(tmp_path))


def test_a_truncated_member_is_named(tmp_path: Path, idx_bytes: Encode) -> None:
    whole = arrays()
    raw = packed(
        whole, lambda array: idx_bytes(array)[:-1] if len(array) == 62 and array.ndim == 3 else idx_bytes(array)
    )
    (tmp_path / "gzip.zip").write_bytes(raw)
    message = refused(emnist.load, tmp_path, "is truncated")
    assert message.startswith(str(tmp_path / "gzip.zip" / "gzip" / emnist.STEMS["x_test"]))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("place", ["FashionMNIST/raw", "FashionMNIST"])
def test_fashionmnist_is_read_in_place(
    tmp_path: Path, write_mnist: Callable[..., dict[str, np.ndarray]], place: str, compressed: bool
) -> None:
    made = write_mnist(tmp_path / place, compressed)
    data = fashionmnist.load(tmp_path)
    np.testing.assert_array_equal(data.x_train[..., 0], made["train-images-idx3-ubyte"])
    assert data.name == "fashionmnist" and data.class_names[9] == "Ankle boot" and data.augmentation == ("affine",)


def test_fashionmnist_does_not_read_mnists_files(
    tmp_path: Path, write_mnist: Callable[..., dict[str, np.ndarray]]
) -> None:
    for place in (".", "raw", "MNIST/raw", "MNIST"):
        write_mnist(tmp_path / place, True)
    message = refused(fashionmnist.load, tmp_path, "network is unreachable")
    assert str(tmp_path / "FashionMNIST" / "raw") in message and "train-images-idx3-ubyte.gz" in message


def test_fashionmnist_is_downloaded(
    tmp_path: Path, write_mnist: Callable[..., dict[str, np.ndarray]], network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "mirror", True)
    resources = []
    for name, _ in datasets.FashionMNIST.resources:
        raw = network.files[datasets.FashionMNIST.mirrors[0] + name] = (tmp_path / "mirror" / name).read_bytes()
        resources.append((name, hashlib.md5(raw).hexdigest()))
    monkeypatch.setattr(datasets.FashionMNIST, "resources", resources)
    data = fashionmnist.load(tmp_path / "data")
    assert fashionmnist.load(tmp_path / "data").fingerprint == data.fingerprint and len(network.asked) == 4
