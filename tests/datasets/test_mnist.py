from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets

from deepal_autoal.datasets.files import download
from deepal_autoal.datasets.files.idx import read_idx
from deepal_autoal.datasets.published import idx_dataset, mnist
from deepal_autoal.datasets.published.idx_dataset import PARTS
from deepal_autoal.errors import InputError

WriteMnist = Callable[..., dict[str, np.ndarray]]
IMAGES, LABELS = PARTS["x_train"], PARTS["y_train"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(request: Any, timeout: float) -> Any:
        raise OSError("network is unreachable")

    monkeypatch.setattr(download.urllib.request, "urlopen", unreachable)


def raw(data_dir: Path) -> Path:
    return data_dir / "MNIST" / "raw"


def refused(data_dir: Path, message: str) -> str:
    with pytest.raises(InputError, match=message) as caught:
        mnist.load(data_dir)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("compressed", [False, True])
def test_files_are_read_in_place(tmp_path: Path, write_mnist: WriteMnist, compressed: bool) -> None:
    arrays = write_mnist(raw(tmp_path), compressed)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in raw(tmp_path).iterdir()}
    data = mnist.load(tmp_path)
    for part, stem in PARTS.items():
        found = getattr(data, part)
        np.testing.assert_array_equal(found[..., 0] if part.startswith("x") else found, arrays[stem])
    assert data.name == "mnist" and data.input_shape == (1, 28, 28) and data.n_classes == 10
    assert data.class_names == tuple("0123456789") and data.augmentation == ("affine",)
    assert isinstance(data.x_train, np.memmap) == (not compressed)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in raw(tmp_path).iterdir()} == before


def test_plain_and_compressed_are_equal(tmp_path: Path, write_mnist: WriteMnist) -> None:
    write_mnist(raw(tmp_path / "plain"), False)
    write_mnist(raw(tmp_path / "packed"), True)
    fingerprint = mnist.load(tmp_path / "plain").fingerprint
    assert mnist.load(tmp_path / "packed").fingerprint == fingerprint
    # With both kinds in one folder the plain file is read, whatever the other holds.
    for path in raw(tmp_path / "packed").iterdir():
        (raw(tmp_path / "plain") / path.name).write_bytes(b"damaged")
    assert mnist.load(tmp_path / "plain").fingerprint == fingerprint


@pytest.mark.parametrize("place", ["MNIST/raw", "MNIST", "raw", "."])
def test_other_folders_are_searched(tmp_path: Path, write_mnist: WriteMnist, place: str) -> None:
    write_mnist(tmp_path / place, True)
    assert mnist.load(tmp_path).source["path"] == str(tmp_path / place)


def test_file_names_with_dots(tmp_path: Path, write_mnist: WriteMnist) -> None:
    write_mnist(raw(tmp_path), False)
    for path in list(raw(tmp_path).iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert len(mnist.load(tmp_path).x_train) == 30


def test_missing_files_without_network_are_explained_in_one_line(tmp_path: Path) -> None:
    message = refused(tmp_path / "data", "network is unreachable")
    assert str(raw(tmp_path / "data")) in message and "--data-dir" in message
    for stem in PARTS.values():
        assert f"{stem}.gz" in message


def test_only_missing_files_are_requested(tmp_path: Path, write_mnist: WriteMnist) -> None:
    write_mnist(raw(tmp_path), False)
    (raw(tmp_path) / LABELS).unlink()
    message = refused(tmp_path, "mnist is not complete")
    assert f"put {LABELS}.gz there" in message


@pytest.fixture
def mirror(tmp_path: Path, write_mnist: WriteMnist, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working second mirror after an unreachable first one."""
    folder = tmp_path / "mirror"
    write_mnist(folder, True)

    class Answer:
        def __init__(self, path: Path) -> None:
            self.file = path.open("rb")
            self.headers = {"Content-Length": str(path.stat().st_size)}
            self.read = self.file.read

        def __enter__(self) -> Answer:
            return self

        def __exit__(self, *exc: object) -> None:
            self.file.close()

    def open_url(request: download.urllib.request.Request, timeout: float) -> Answer:
        assert 0 < timeout <= 60
        if not request.full_url.startswith("https://second.example/"):
            raise OSError("network is unreachable")
        return Answer(folder / request.full_url.rpartition("/")[2])

    monkeypatch.setattr(download.urllib.request, "urlopen", open_url)
    resources = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in folder.iterdir()]
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["https://first.example/", "https://second.example/"])
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    return folder


def test_missing_files_are_downloaded_once(
    tmp_path: Path, write_mnist: WriteMnist, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = mnist.load(tmp_path / "data")
    assert sorted(path.name for path in raw(tmp_path / "data").iterdir()) == sorted(f"{s}.gz" for s in PARTS.values())
    monkeypatch.setattr(idx_dataset, "download", None)
    monkeypatch.setattr(idx_dataset, "download", lambda urls, target, md5: pytest.fail(f"{target} fetched again"))
    assert mnist.load(tmp_path / "data").fingerprint == data.fingerprint


def test_existing_files_are_not_rewritten_by_a_download(tmp_path: Path, write_mnist: WriteMnist, mirror: Path) -> None:
    write_mnist(raw(tmp_path / "data"), False)
    (raw(tmp_path / "data") / LABELS).unlink()
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in raw(tmp_path / "data").iterdir()}
    mnist.load(tmp_path / "data")
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in raw(tmp_path / "data").iterdir()}
    assert set(after) - set(before) == {f"{LABELS}.gz"}
    assert before.items() <= after.items()


def test_a_download_with_wrong_contents_is_refused(tmp_path: Path, mirror: Path) -> None:
    (mirror / f"{IMAGES}.gz").write_bytes(gzip.compress(b"something else"))
    refused(tmp_path / "data", "do not match the MD5 digest")
    assert list(raw(tmp_path / "data").iterdir()) == []


def test_an_unwritable_data_folder_is_named(tmp_path: Path, mirror: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    refused(tmp_path / "data", "cannot be written to")


def test_torchvision_is_imported_only_for_a_download(tmp_path: Path, write_mnist: WriteMnist) -> None:
    write_mnist(raw(tmp_path), True)
    code = (
        "import sys, pathlib; from deepal_autoal.datasets.published.mnist import load; "
        f"load(pathlib.Path({str(tmp_path)!r})); sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_torchvision_reads_the_same_data(tmp_path: Path, write_mnist: WriteMnist) -> None:
    write_mnist(raw(tmp_path), False)
    ours = mnist.load(tmp_path)
    for train, images, labels in ((True, ours.x_train, ours.y_train), (False, ours.x_test, ours.y_test)):
        theirs = datasets.MNIST(tmp_path, train=train, download=False)
        np.testing.assert_array_equal(theirs.data.numpy(), images[..., 0])
        np.testing.assert_array_equal(theirs.targets.numpy(), labels)


def damage_header(contents: bytes, position: int, value: bytes) -> bytes:
    return contents[:position] + value + contents[position + len(value) :]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[:-1], "is truncated"),
        (lambda c: c + b"\0", "is damaged"),
        (lambda c: c[:7], "ends within its header"),
        (lambda c: b"", "ends within its header"),
        (lambda c: damage_header(c, 2, b"\x0d"), "is not an IDX file"),
        (lambda c: damage_header(c, 3, b"\x01"), "is not an IDX file"),
        (lambda c: damage_header(c, 4, struct.pack(">I", 0)), "holds no data"),
        (lambda c: damage_header(c, 4, b"\xff" * 12), "is truncated"),
    ],
)
def test_damaged_files_are_named(
    tmp_path: Path, write_mnist: WriteMnist, idx_bytes: Callable[[np.ndarray], bytes], compressed: bool,
    change: Callable[[bytes], bytes], message: str,
) -> None:  # fmt: skip
    arrays = write_mnist(raw(tmp_path), compressed)
    contents = change(idx_bytes(arrays[IMAGES]))
    path = raw(tmp_path) / (f"{IMAGES}.gz" if compressed else IMAGES)
    path.write_bytes(gzip.compress(contents) if compressed else contents)
    assert refused(tmp_path, message).startswith(str(path))


@pytest.mark.parametrize(
    "change", [lambda c: c[:-20], lambda c: b"no gzip" + c, lambda c: b"", lambda c: c[:-6] + b"123456"]
)
def test_damaged_compression_is_named(
    tmp_path: Path, write_mnist: WriteMnist, change: Callable[[bytes], bytes]
) -> None:
    write_mnist(raw(tmp_path), True)
    path = raw(tmp_path) / f"{IMAGES}.gz"
    path.write_bytes(change(path.read_bytes()))
    assert refused(tmp_path, "download it again").startswith(str(path))


def test_images_and_labels_must_match(
    tmp_path: Path, write_mnist: WriteMnist, idx_bytes: Callable[[np.ndarray], bytes]
) -> None:
    arrays = write_mnist(raw(tmp_path), False)
    path = raw(tmp_path) / LABELS
    path.write_bytes(idx_bytes(arrays[LABELS][:-1]))
    refused(tmp_path, "30 images but .* 29 labels")
    path.write_bytes(idx_bytes(np.full(30, 10)))
    refused(tmp_path, f"{LABELS} holds label 10, but mnist has 10 classes")


@pytest.mark.skipif(os.name == "nt" or getattr(os, "geteuid", lambda: 1)() == 0, reason="permissions do not bind here")
def test_an_unreadable_file_is_named(tmp_path: Path, write_mnist: WriteMnist) -> None:
    write_mnist(raw(tmp_path), False)
    (raw(tmp_path) / IMAGES).chmod(0)
    assert refused(tmp_path, "cannot be read").startswith(str(raw(tmp_path) / IMAGES))


def test_read_idx_maps_plain_files(tmp_path: Path, idx_bytes: Callable[[np.ndarray], bytes]) -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    (tmp_path / "plain").write_bytes(idx_bytes(array))
    found = read_idx(tmp_path / "plain", 2)
    assert isinstance(found, np.memmap) and not found.flags.writeable
    np.testing.assert_array_equal(found, array)
    shutil.rmtree(tmp_path)


def test_a_download_leaves_an_existing_file_alone(tmp_path: Path) -> None:
    (tmp_path / "file.gz").write_bytes(b"mine")
    download.download(["https://first.example/file.gz"], tmp_path / "file.gz", "0" * 32)
    assert (tmp_path / "file.gz").read_bytes() == b"mine"
