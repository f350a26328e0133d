from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from torchvision import datasets

from deepal_autoal.datasets.published import svhn
from deepal_autoal.errors import InputError

pytestmark = pytest.mark.usefixtures("network")

TRAIN, TEST = "train_32x32.mat", "test_32x32.mat"


def content(n: int, seed: int) -> dict[str, np.ndarray]:
    images = np.random.default_rng(seed).integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
    return {"X": images, "y": (1 + np.arange(n) % 10).astype(np.uint8).reshape(-1, 1)}


def write(folder: Path, **changes: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, n) in enumerate({TRAIN: 25, TEST: 12}.items()):
        savemat(folder / name, {**content(n, seed), **changes.get(name.partition("_")[0], {})}, do_compression=True)


def refused(data_dir: Path, message: str) -> str:
    with pytest.raises(InputError, match=message) as caught:
        svhn.load(data_dir)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("place", [".", "SVHN", "svhn"])
def test_files_are_read_in_place(tmp_path: Path, snapshot: Any, place: str) -> None:
    write(tmp_path / place)
    before = snapshot(tmp_path)
    data = svhn.load(tmp_path)
    assert snapshot(tmp_path) == before and data.source["path"] == str(tmp_path / place)
    for images, labels, made in (
        (data.x_train, data.y_train, content(25, 0)),
        (data.x_test, data.y_test, content(12, 1)),
    ):
        for number, image in enumerate(images):
            np.testing.assert_array_equal(image, made["X"][:, :, :, number])
        assert labels.tolist() == [(1 + number) % 10 for number in range(len(images))]  # label 10 is the digit 0
        assert images.flags.c_contiguous
    assert data.name == "svhn" and data.class_names == tuple("0123456789") and data.augmentation == ("crop",)


def test_torchvision_reads_the_same_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda self: True)
    ours = svhn.load(tmp_path)
    for split, images, labels in (("train", ours.x_train, ours.y_train), ("test", ours.x_test, ours.y_test)):
        theirs = datasets.SVHN(tmp_path, split)
        np.testing.assert_array_equal(theirs.data.transpose(0, 2, 3, 1), images)
        assert theirs.labels.tolist() == labels.tolist()


def test_missing_files_without_network_are_explained_in_one_line(tmp_path: Path) -> None:
    message = refused(tmp_path / "data", "network is unreachable")
    assert f"in {tmp_path / 'data'} " in message and f"put {TRAIN} there" in message and "--data-dir" in message
    write(tmp_path / "SVHN")
    (tmp_path / "SVHN" / TEST).unlink()
    message = refused(tmp_path, f"put {TEST} there")
    assert f"in {tmp_path / 'SVHN'} " in message


def test_missing_files_are_downloaded_once(tmp_path: Path, network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mirror")
    described = dict(datasets.SVHN.split_list)
    for split in ("train", "test"):
        url, name, _ = described[split]
        raw = network.files[url] = (tmp_path / "mirror" / name).read_bytes()
        described[split] = [url, name, hashlib.md5(raw).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", described)
    data = svhn.load(tmp_path / "data")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [TEST, TRAIN]
    assert svhn.load(tmp_path / "data").fingerprint == data.fingerprint and len(network.asked) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.zeros((32, 32, 3, 24), np.uint8)}, r"24 images but labels uint8 \(25, 1\)"),
        (
            {"X": np.zeros((25, 32, 32, 3), np.uint8)},
            r"uint8 \(25, 32, 32, 3\), not images uint8 \(32, 32, 3, N\)",
        ),
        ({"X": np.zeros((32, 32, 3, 25))}, "holds float64"),
        ({"X": "image"}, "not images"),
        ({"y": np.full((25, 1), 11)}, "holds label 11"),
        ({"y": np.zeros((25, 1))}, r"holds label 0"),
        ({"y": np.full((25, 1), 1.5)}, r"holds label 1\.5"),
        ({"y": "labels"}, "not one per sample"),
        ({"y": np.zeros((25, 2))}, "not one per sample"),
    ],
)
def test_damaged_contents_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write(tmp_path, train=change)
    assert refused(tmp_path, message).startswith(str(tmp_path / TRAIN))


@pytest.mark.parametrize("name", ["X", "y"])
def test_a_missing_array_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    made = content(12, 1)
    del made[name]
    savemat(tmp_path / TEST, made)
    assert refused(tmp_path, f"holds no array {name}").startswith(str(tmp_path / TEST))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-200],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:200],
        lambda raw: raw[:3],
        lambda raw: b"",
        lambda raw: b"no such file" * 100,
        lambda raw: raw[:5000] + bytes(100) + raw[5100:],
        lambda raw: raw[:124] + b"\0\2IM" + raw[128:],
    ],
)
def test_damaged_files_are_named(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    write(tmp_path)
    (tmp_path / TRAIN).write_bytes(change((tmp_path / TRAIN).read_bytes()))
    assert refused(tmp_path, "download it again").startswith(str(tmp_path / TRAIN))
