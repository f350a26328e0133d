from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.published.cifar import load_cifar10, load_cifar100
from deepal_autoal.datasets.published.cifar10_imb import kept_rows
from deepal_autoal.datasets.published.cifar10_imb import load as load_imbalanced
from deepal_autoal.errors import InputError

pytestmark = pytest.mark.usefixtures("network")

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FOLDER, ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
Files = dict[str, bytes]


def batch(n: int, seed: int, n_classes: int = 10) -> dict[str, Any]:
    data = np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)
    return {
        "batch_label": "batch",
        "labels": [(seed + i) % n_classes for i in range(n)],
        "data": data,
        "filenames": ["a"] * n,
    }


def batches(n: int = 10) -> dict[str, dict[str, Any]]:
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    return {name: batch(n, seed) for seed, name in enumerate(names)}


@pytest.fixture
def files(python2_pickle: Callable[[object], bytes]) -> Files:
    made = {name: python2_pickle(content) for name, content in batches().items()}
    made["batches.meta"] = python2_pickle({"num_cases_per_batch": 10, "label_names": NAMES, "num_vis": 3072})
    return made


def write_folder(data_dir: Path, files: Files, folder: str = FOLDER) -> None:
    (data_dir / folder).mkdir(parents=True)
    for name, raw in files.items():
        (data_dir / folder / name).write_bytes(raw)


def archived(files: Files, folder: str = FOLDER) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo(f"{folder}/"))
        for name in sorted({**files, "readme.html": b"<p>"}, reverse=True):
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len({**files, "readme.html": b"<p>"}[name])
            archive.addfile(member, io.BytesIO({**files, "readme.html": b"<p>"}[name]))
    return buffer.getvalue()


def expected(split: list[dict[str, Any]]) -> tuple[np.ndarray, list[int]]:
    """Return the images as the format's description defines them: 1,024 red values, row by row, and so on."""
    planes = np.concatenate([part["data"] for part in split])
    images = np.stack([planes[:, start : start + 1024].reshape(-1, 32, 32) for start in (0, 1024, 2048)], axis=-1)
    return images, [label for part in split for label in part["labels"]]


def check(data: Dataset) -> None:
    made = list(batches().values())
    for images, labels, split in ((data.x_train, data.y_train, made[:5]), (data.x_test, data.y_test, made[5:])):
        x, y = expected(split)
        np.testing.assert_array_equal(images, x)
        assert labels.tolist() == y and images.flags.c_contiguous
    assert data.name == "cifar10" and data.class_names == tuple(NAMES) and data.augmentation == ("crop", "flip")


def refused(data_dir: Path, message: str, load: Callable[[Path], Dataset] = load_cifar10) -> str:
    with pytest.raises(InputError, match=message) as caught:
        load(data_dir)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_extracted_files_are_read_in_place(tmp_path: Path, files: Files, snapshot: Any) -> None:
    write_folder(tmp_path, files)
    before = snapshot(tmp_path)
    check(load_cifar10(tmp_path))
    assert snapshot(tmp_path) == before


def test_the_archive_is_read_without_extraction(tmp_path: Path, files: Files, snapshot: Any) -> None:
    (tmp_path / ARCHIVE).write_bytes(archived(files))
    before = snapshot(tmp_path)
    data = load_cifar10(tmp_path)
    check(data)
    assert snapshot(tmp_path) == before and data.source["path"] == str(tmp_path / ARCHIVE)


def test_the_archive_is_used_if_the_folder_is_incomplete(tmp_path: Path, files: Files) -> None:
    write_folder(tmp_path, {"data_batch_1": b"damaged"})
    (tmp_path / ARCHIVE).write_bytes(archived(files))
    check(load_cifar10(tmp_path))


def test_torchvision_reads_the_same_data(tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, files)
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setitem(datasets.CIFAR10.meta, "md5", hashlib.md5(files["batches.meta"]).hexdigest())
    ours = load_cifar10(tmp_path)
    for train, images, labels in ((True, ours.x_train, ours.y_train), (False, ours.x_test, ours.y_test)):
        theirs = datasets.CIFAR10(tmp_path, train=train)
        np.testing.assert_array_equal(theirs.data, images)
        assert theirs.targets == labels.tolist() and tuple(theirs.classes) == ours.class_names


@pytest.mark.parametrize("packed", [False, True])
def test_cifar100_has_fine_labels(tmp_path: Path, python2_pickle: Callable[[object], bytes], packed: bool) -> None:
    files = {}
    for seed, (name, n) in enumerate({"train": 40, "test": 12}.items()):
        content = batch(n, seed, 100)
        fine = content.pop("labels")
        files[name] = python2_pickle({**content, "fine_labels": fine, "coarse_labels": [0] * n})
    names = [f"class {number}" for number in range(100)]
    files["meta"] = python2_pickle({"fine_label_names": names, "coarse_label_names": ["x"] * 20})
    if packed:
        (tmp_path / "cifar-100-python.tar.gz").write_bytes(archived(files, "cifar-100-python"))
    else:
        write_folder(tmp_path, files, "cifar-100-python")
    data = load_cifar100(tmp_path)
    assert data.name == "cifar100" and data.class_names == tuple(names) and data.augmentation == ("crop", "flip")
    np.testing.assert_array_equal(data.x_train, expected([batch(40, 0)])[0])
    assert data.y_train.tolist() == list(range(40)) and data.y_test.tolist() == list(range(1, 13))


def test_missing_files_without_network_are_explained_in_one_line(tmp_path: Path) -> None:
    message = refused(tmp_path / "data", "network is unreachable")
    assert f"in {tmp_path / 'data'} " in message and f"put {ARCHIVE} there" in message and "--data-dir" in message
    assert "cifar-100-python.tar.gz" in refused(tmp_path, "cifar100", load_cifar100)


def test_missing_files_of_an_incomplete_folder_are_named(tmp_path: Path, files: Files) -> None:
    del files["data_batch_3"]
    write_folder(tmp_path, files)
    assert f"(or data_batch_3 into {FOLDER})" in refused(tmp_path, "cifar10 is not complete")


def test_missing_files_are_downloaded_once(
    tmp_path: Path, files: Files, network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = archived(files)
    network.files[datasets.CIFAR10.url] = raw
    refused(tmp_path, "do not match the MD5 digest")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(raw).hexdigest())
    check(load_cifar10(tmp_path))
    assert (tmp_path / ARCHIVE).read_bytes() == raw and len(network.asked) == 2
    check(load_cifar10(tmp_path))
    assert len(network.asked) == 2


def changed(key: str, value: Any) -> dict[str, Any]:
    return {**batch(10, 0), key: value}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("data", np.zeros((10, 3071), np.uint8)), r"holds uint8 \(10, 3071\), not images uint8 \(N, 3072\)"),
        (changed("data", np.zeros((10, 3072), np.float32)), r"holds float32"),
        (changed("data", np.zeros((10, 3, 32, 32), np.uint8)), r"not images"),
        (changed("data", [1, 2]), "holds list, not images"),
        ({"labels": [1]}, "holds NoneType, not images"),
        (changed("labels", list(range(9))), "10 images but 9 labels"),
        ({**changed("labels", []), "data": np.zeros((0, 3072), np.uint8)}, "0 images but 0 labels"),
        (changed("labels", [*range(9), 10]), r"holds label 10, but batches\.meta names 10 classes"),
        (changed("labels", [*range(9), -1]), "no list of class numbers"),
        (changed("labels", ["cat"] * 10), "no list of class numbers"),
        (changed("labels", None), "no list of class numbers"),
        ([1, 2], "cannot be read as a pickle"),
    ],
)
def test_damaged_batches_are_named(
    tmp_path: Path, files: Files, python2_pickle: Callable[[object], bytes], packed: bool, content: object, message: str
) -> None:
    files["data_batch_2"] = python2_pickle(content)
    place = tmp_path / (ARCHIVE if packed else "") / FOLDER / "data_batch_2"
    if packed:
        (tmp_path / ARCHIVE).write_bytes(archived(files))
    else:
        write_folder(tmp_path, files)
    assert refused(tmp_path, message).startswith(str(place))


@pytest.mark.parametrize("names", [None, [], ["a", 3], "airplane"])
def test_damaged_class_names_are_refused(
    tmp_path: Path, files: Files, python2_pickle: Callable[[object], bytes], names: object
) -> None:
    write_folder(tmp_path, {**files, "batches.meta": python2_pickle({"label_names": names})})
    assert refused(tmp_path, "no list of class names").startswith(str(tmp_path / FOLDER / "batches.meta"))


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("packed", [False, True])
def test_a_malicious_pickle_is_not_run(tmp_path: Path, files: Files, packed: bool) -> None:
    files["test_batch"] = pickle.dumps({"data": Evil(tmp_path / "ran"), "labels": [0]})
    if packed:
        (tmp_path / ARCHIVE).write_bytes(archived(files))
    else:
        write_folder(tmp_path, files)
    assert "test_batch asks for" in refused(tmp_path, "mkdir")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:-1000], "download it again"),
        (lambda raw: raw[: len(raw) // 2], "download it again"),
        (lambda raw: raw[:10], "download it again"),
        (lambda raw: b"", "download it again"),
        (lambda raw: b"no archive", "cannot be read"),
        (lambda raw: raw[:-8] + b"\0\0\0\0" + raw[-4:], "cannot be read.*CRC"),
        (lambda raw: gzip.compress(b"no tar" * 1000), "cannot be read"),
    ],
)
def test_a_damaged_archive_is_named(
    tmp_path: Path, files: Files, change: Callable[[bytes], bytes], message: str
) -> None:
    (tmp_path / ARCHIVE).write_bytes(change(archived(files)))
    assert refused(tmp_path, message).startswith(str(tmp_path / ARCHIVE))


def test_an_archive_without_a_file_is_named(tmp_path: Path, files: Files) -> None:
    del files["data_batch_4"]
    (tmp_path / ARCHIVE).write_bytes(archived(files))
    refused(tmp_path, f"holds no {FOLDER}/data_batch_4")


def test_a_truncated_file_is_named(tmp_path: Path, files: Files) -> None:
    files["data_batch_1"] = files["data_batch_1"][:-100]
    write_folder(tmp_path, files)
    assert refused(tmp_path, "cannot be read").startswith(str(tmp_path / FOLDER / "data_batch_1"))


def test_imbalanced_classes(tmp_path: Path, python2_pickle: Callable[[object], bytes], files: Files) -> None:
    for name, content in batches(40).items():
        files[name] = python2_pickle(content)
    write_folder(tmp_path, files)
    whole, data = load_cifar10(tmp_path), load_imbalanced(tmp_path)
    assert whole.class_counts == [20] * 10
    assert data.class_counts == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    np.testing.assert_array_equal(data.x_test, whole.x_test)
    assert data.name == "cifar10-imb" and data.augmentation == ("crop", "flip")
    assert load_imbalanced(tmp_path).fingerprint == data.fingerprint != whole.fingerprint
    rows = kept_rows(whole.y_train, 10)
    np.testing.assert_array_equal(data.x_train, whole.x_train[rows])
    np.testing.assert_array_equal(data.y_train, whole.y_train[rows])


def test_which_rows_are_kept() -> None:
    labels = np.repeat(np.arange(10), 5000)
    np.random.default_rng(0).shuffle(labels)
    rows = kept_rows(labels, 10)
    assert np.bincount(labels[rows]).tolist() == [500 * number for number in range(1, 11)]
    assert (np.diff(rows) > 0).all()
    # A sample of the whole class, not its beginning; the same for every caller.
    first = np.flatnonzero(labels == 0)
    assert 30 < np.isin(first[-500:], rows).sum() < 80
    np.random.seed(1)
    np.testing.assert_array_equal(kept_rows(labels, 10), rows)
    assert np.bincount(kept_rows(np.arange(10), 10)).tolist() == [1] * 10


def test_a_complete_run(tmp_path: Path, files: Files, deepal: Any) -> None:
    write_folder(tmp_path / "mine", files)
    status, _, err = deepal(
        "run", "--dataset", "cifar10", "--data-dir", tmp_path / "mine", "--strategy", "entropy", "--model", "cnn",
        "--initial", "10", "--batch-size", "5", "--rounds", "1", "--epochs", "1", "--min-steps", "2", "--threads", "1",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert status == 0, err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["dataset"]["name"] == "cifar10" and config["dataset"]["n_train"] == 50
    assert config["recipe"]["augmentation"] == ["crop", "flip"]
    assert len((tmp_path / "run" / "rounds.jsonl").read_text().splitlines()) == 2
    assert [line for line in err.splitlines() if "Warning" in line and "initial labeled set" not in line] == []
