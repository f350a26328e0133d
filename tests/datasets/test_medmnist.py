from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medmnist import INFO

from deepal_autoal import load_dataset, plugin_host
from deepal_autoal.datasets.published import medmnist
from deepal_autoal.errors import InputError

pytestmark = pytest.mark.usefixtures("network")

FLAT = sorted(flag for flag, described in INFO.items() if not described["python_class"].endswith("3D"))
USABLE = [flag for flag in FLAT if flag != "chestmnist"]


def arrays(flag: str, n_train: int = 30) -> dict[str, np.ndarray]:
    described = INFO[flag]
    rng = np.random.default_rng(0)
    made = {}
    for split, n in (("train", n_train), ("val", 6), ("test", 12)):
        shape = (n, 28, 28) if described["n_channels"] == 1 else (n, 28, 28, 3)
        made[f"{split}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
        made[f"{split}_labels"] = (np.arange(n) % len(described["label"])).astype(np.uint8).reshape(-1, 1)
    return made


def refused(flag: str, data_dir: Path, message: str) -> str:
    with pytest.raises(InputError, match=message) as caught:
        medmnist.load(flag, data_dir)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("flag", USABLE)
def test_every_set_is_loaded(tmp_path: Path, flag: str) -> None:
    made = arrays(flag)
    np.savez_compressed(tmp_path / f"{flag}.npz", **made)
    data = load_dataset(flag, tmp_path)
    described = INFO[flag]
    for split, images, labels in (("train", data.x_train, data.y_train), ("test", data.x_test, data.y_test)):
        assert images.shape[1:] == (28, 28, described["n_channels"])
        np.testing.assert_array_equal(images.reshape(made[f"{split}_images"].shape), made[f"{split}_images"])
        np.testing.assert_array_equal(labels, made[f"{split}_labels"][:, 0])
    assert data.name == flag and data.augmentation == ("crop",)
    assert list(data.class_names) == [described["label"][str(number)] for number in range(len(described["label"]))]


@pytest.mark.parametrize("place", [".", "medmnist"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_files_are_read_in_place(tmp_path: Path, snapshot: Any, place: str, save: Callable[..., None]) -> None:
    (tmp_path / place).mkdir(exist_ok=True)
    save(tmp_path / place / "pathmnist.npz", **arrays("pathmnist"))
    before = snapshot(tmp_path)
    data = medmnist.pathmnist(tmp_path)
    assert snapshot(tmp_path) == before and data.source["path"] == str(tmp_path / place / "pathmnist.npz")
    assert isinstance(data.x_train, np.memmap) == (save is np.savez)


def test_the_validation_split_is_not_needed(tmp_path: Path) -> None:
    made = {name: array for name, array in arrays("bloodmnist").items() if not name.startswith("val")}
    np.savez(tmp_path / "bloodmnist.npz", **made)
    assert len(medmnist.bloodmnist(tmp_path).x_train) == 30


def test_several_labels_an_image_are_refused_before_any_download(tmp_path: Path, network: Any) -> None:
    with pytest.raises(InputError, match="chestmnist gives an image several labels at once") as caught:
        load_dataset("chestmnist", tmp_path)
    assert network.asked == [] and "\n" not in str(caught.value)
    assert str(caught.value).endswith(f"choose one of {', '.join(USABLE)}")


def test_missing_files_without_network_are_explained_in_one_line(tmp_path: Path) -> None:
    message = refused("octmnist", tmp_path / "data", "network is unreachable")
    assert f"in {tmp_path / 'data'} " in message and "put octmnist.npz there" in message and "--data-dir" in message


def test_missing_files_are_downloaded_once(tmp_path: Path, network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "mirror.npz", **arrays("organcmnist"))
    described = INFO["organcmnist"]
    raw = network.files[described["url"]] = (tmp_path / "mirror.npz").read_bytes()
    monkeypatch.setitem(described, "MD5", hashlib.md5(raw).hexdigest())
    data = medmnist.organcmnist(tmp_path / "data")
    assert (tmp_path / "data" / "organcmnist.npz").read_bytes() == raw
    assert medmnist.organcmnist(tmp_path / "data").fingerprint == data.fingerprint and len(network.asked) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": np.zeros((30, 28, 28), np.uint8)}, r"is uint8 \(30, 28, 28\), not uint8 \(N, 28, 28, 3"),
        ({"train_images": np.zeros((30, 64, 64, 3), np.uint8)}, r"train_images is uint8 \(30, 64, 64, 3\)"),
        ({"test_images": np.zeros((12, 28, 28, 3))}, "test_images is float64"),
        ({"train_images": np.zeros((29, 28, 28, 3), np.uint8)}, r"train_labels is .* not one class number per image"),
        ({"train_labels": np.zeros((30, 14), np.uint8)}, r"train_labels is uint8 \(30, 14\)"),
        ({"test_labels": np.zeros(12, np.uint8)}, r"test_labels is uint8 \(12,\)"),
        ({"test_labels": np.zeros((12, 1))}, "test_labels is float64"),
        ({"test_labels": np.full((12, 1), 9, np.uint8)}, "test_labels holds 9 to 9, but there are 9 classes"),
        ({"train_labels": np.full((30, 1), -1)}, "train_labels holds -1 to -1"),
        ({"train_labels": np.array([[None]] * 30)}, "Python objects"),
    ],
)  # fmt: skip
def test_damaged_contents_are_named(tmp_path: Path, change: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "pathmnist.npz", **{**arrays("pathmnist"), **change})
    assert refused("pathmnist", tmp_path, message).startswith(str(tmp_path / "pathmnist.npz"))


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    made = arrays("pathmnist")
    del made["test_labels"]
    np.savez(tmp_path / "pathmnist.npz", **made)
    refused("pathmnist", tmp_path, "holds no test_labels")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "change", [lambda raw: raw[:-10], lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"\x93NUMPY" * 99]
)
def test_damaged_files_are_named(tmp_path: Path, save: Callable[..., None], change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "tissuemnist.npz"
    save(path, **arrays("tissuemnist"))
    path.write_bytes(change(path.read_bytes()))
    assert refused("tissuemnist", tmp_path, "download it again").startswith(str(path))


def test_the_listing_matches_medmnist() -> None:
    entries = plugin_host().datasets.entries()
    rows = {entry.name: entry.summary for entry in entries if "MedMNIST" in entry.reference}
    assert sorted(rows) == FLAT and "not usable" in rows["chestmnist"]
    for flag in USABLE:
        described = INFO[flag]
        n_images = described["n_samples"]["train"] + described["n_samples"]["test"]
        assert rows[flag].startswith(f"{n_images:,} ")
        assert rows[flag].endswith(
            f"in {'gray' if described['n_channels'] == 1 else 'color'}, {len(described['label'])} classes"
        )
