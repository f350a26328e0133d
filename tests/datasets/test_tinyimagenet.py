from __future__ import annotations

import hashlib
import io
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files import extraction
from deepal_autoal.datasets.published import tinyimagenet
from deepal_autoal.errors import InputError

pytestmark = pytest.mark.usefixtures("network")

FOLDER = tinyimagenet.FOLDER
WNIDS = ["n01443537", "n01629819", "n02002724", "n03126707"]
VAL = [(f"val_{number}.JPEG", WNIDS[(3 * number) % 4]) for number in range(11)]
WriteImage = Callable[..., Path]


@pytest.fixture
def write(write_image: WriteImage) -> Callable[[Path], Path]:
    """Return a function that writes a tiny-imagenet-200 into a folder and returns its path."""

    def create(data_dir: Path) -> Path:
        folder = data_dir / FOLDER
        for seed, wnid in enumerate(WNIDS):
            for number in range(5):
                write_image(folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", (64, 64), seed=seed)
            (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
        for name, _ in VAL:
            write_image(folder / "val" / "images" / name, (64, 64), mode="L" if name == "val_3.JPEG" else "RGB")
        lines = [f"{name}\t{wnid}\t0\t32\t44\t62\n" for name, wnid in VAL]
        (folder / "val" / "val_annotations.txt").write_text("".join(lines))
        write_image(folder / "test" / "images" / "test_0.JPEG", (64, 64))
        (folder / "wnids.txt").write_text("\n".join(reversed(WNIDS)))
        (folder / "words.txt").write_text(
            "n00001740\tentity\nn01443537\tgoldfish, Carassius auratus\nn02002724\tcrane\nn03126707\tcrane, lifter\n"
        )
        return folder

    return create


def zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    return buffer.getvalue()


def refused(data_dir: Path, message: str) -> str:
    with pytest.raises(InputError, match=message) as caught:
        tinyimagenet.load(data_dir)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check(data: Dataset, folder: Path) -> None:
    train = [(f"train/{wnid}/images/{wnid}_{k}.JPEG", wnid) for wnid in WNIDS for k in range(5)]
    test = [(f"val/images/{name}", wnid) for name, wnid in VAL]
    for rows, images, labels in ((train, data.x_train, data.y_train), (test, data.x_test, data.y_test)):
        for (path, wnid), image, label in zip(rows, images, labels, strict=True):
            np.testing.assert_array_equal(image, np.asarray(Image.open(folder / path).convert("RGB")))
            assert label == WNIDS.index(wnid)
    assert data.name == "tinyimagenet" and data.input_shape == (3, 64, 64)
    assert data.augmentation == ("crop", "flip")


def test_the_folder_is_read_in_place(tmp_path: Path, write: Callable[[Path], Path], snapshot: Any) -> None:
    folder = write(tmp_path)
    before = snapshot(tmp_path)
    data = tinyimagenet.load(tmp_path)
    check(data, folder)
    assert snapshot(tmp_path) == before
    # A class whose word is shared or missing keeps its ID; the first of several words counts.
    assert data.class_names == ("goldfish", "n01629819", "n02002724", "n03126707")
    assert isinstance(data.x_train, np.memmap) and tinyimagenet.load(tmp_path).fingerprint == data.fingerprint


def test_words_are_optional(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    (write(tmp_path) / "words.txt").unlink()
    assert tinyimagenet.load(tmp_path).class_names == tuple(WNIDS)


def test_the_archive_is_extracted_beside_itself(tmp_path: Path, write: Callable[[Path], Path], snapshot: Any) -> None:
    folder = write(tmp_path)
    raw = zipped(folder)
    stored = {name: content for name, (content, _) in snapshot(tmp_path).items()}
    shutil.rmtree(folder)
    (tmp_path / f"{FOLDER}.zip").write_bytes(raw)
    check(tinyimagenet.load(tmp_path), folder)
    found = {name: content for name, (content, _) in snapshot(tmp_path).items()}
    assert found == {**stored, f"{FOLDER}.zip": raw}
    assert sorted(path.name for path in tmp_path.iterdir()) == [FOLDER, f"{FOLDER}.zip"]
    (tmp_path / f"{FOLDER}.zip").unlink()
    check(tinyimagenet.load(tmp_path), folder)


def test_missing_files_without_network_are_explained_in_one_line(tmp_path: Path) -> None:
    message = refused(tmp_path / "data", "network is unreachable")
    assert f"in {tmp_path / 'data'} " in message and f"put {FOLDER}.zip there (or the folder {FOLDER}" in message
    assert "--data-dir" in message


def test_the_archive_is_downloaded_once(
    tmp_path: Path, write: Callable[[Path], Path], network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = network.files["http://cs231n.stanford.edu/tiny-imagenet-200.zip"] = zipped(write(tmp_path / "mirror"))
    refused(tmp_path / "data", "do not match the MD5 digest")
    monkeypatch.setattr(tinyimagenet, "MD5", hashlib.md5(raw).hexdigest())
    for _ in range(2):
        check(tinyimagenet.load(tmp_path / "data"), tmp_path / "mirror" / FOLDER)
    assert len(network.asked) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("val_0.JPEG\n", "line 1: it must name an image and a class"),
        ("val_0.JPEG\tn01443537\nval_0.JPEG\tn01629819\n", "line 2: val_0.JPEG already has a class"),
        ("val_0.JPEG\tn01443537\n", "val_1.JPEG is not listed"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_damaged_annotations_are_named(
    tmp_path: Path, write: Callable[[Path], Path], text: str | bytes, message: str
) -> None:
    path = write(tmp_path) / "val" / "val_annotations.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert refused(tmp_path, message).startswith(str(path.parent))


def add_line(line: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with open(folder / "val" / "val_annotations.txt", "a") as file:
            file.write(line)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: shutil.rmtree(f / "train"), "holds no folder train"),
        (lambda f: shutil.rmtree(f / "val" / "images"), "holds no folder val/images"),
        (lambda f: (f / "val" / "val_annotations.txt").unlink(), r"val_annotations\.txt cannot be read"),
        (lambda f: (f / "val" / "images" / "val_4.JPEG").unlink(), "lists val_4.JPEG, which is not in"),
        (add_line("../../train/n01443537/images/n01443537_0.JPEG\tn01443537\n"), "which is not in"),
        (lambda f: shutil.rmtree(f / "train" / WNIDS[0] / "images"), f"{WNIDS[0]} holds no images"),
        (lambda f: shutil.rmtree(f / "train" / WNIDS[0]), "classes without training samples .n01443537"),
        (lambda f: (f / "val" / "images" / "val_2.JPEG").write_bytes(b"\xff\xd8\xff"), "val_2.JPEG"),
        (
            lambda f: Image.new("RGB", (32, 32)).save(f / "train" / WNIDS[1] / "images" / f"{WNIDS[1]}_2.JPEG"),
            f"{WNIDS[1]}_2.JPEG is 32x32 pixels",
        ),
    ],
)
def test_damaged_folders_are_named(
    tmp_path: Path, write: Callable[[Path], Path], change: Callable[[Path], object], message: str
) -> None:
    change(write(tmp_path))
    assert str(tmp_path / FOLDER) in refused(tmp_path, message)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-10],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"",
        lambda raw: raw[:9000] + bytes(2000) + raw[11000:],
    ],
)
def test_a_damaged_archive_is_named(
    tmp_path: Path, write: Callable[[Path], Path], change: Callable[[bytes], bytes]
) -> None:
    raw = zipped(write(tmp_path))
    shutil.rmtree(tmp_path / FOLDER)
    (tmp_path / f"{FOLDER}.zip").write_bytes(change(raw))
    assert refused(tmp_path, "download it again").startswith(str(tmp_path / f"{FOLDER}.zip"))
    assert [path.name for path in tmp_path.iterdir()] == [f"{FOLDER}.zip"]


@pytest.mark.parametrize(
    "name",
    [f"{FOLDER}/../../evil", "../evil", "/tmp/evil", "evil", f"{FOLDER}\\..\\..\\evil", "C:/evil", f"{FOLDER}/C:/evil",
     f"{FOLDER}-evil/x"],
)  # fmt: skip
def test_an_archive_cannot_write_elsewhere(tmp_path: Path, name: str) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    with zipfile.ZipFile(data_dir / f"{FOLDER}.zip", "w") as archive:
        archive.writestr(f"{FOLDER}/wnids.txt", "n01443537")
        archive.writestr(name, "evil")
    refused(data_dir, "outside its folder")
    assert [path.name for path in tmp_path.rglob("*")] == ["data", f"{FOLDER}.zip"]


def test_links_in_an_archive_are_not_followed(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    raw = zipped(write(tmp_path))
    shutil.rmtree(tmp_path / FOLDER)
    link = zipfile.ZipInfo(f"{FOLDER}/val/elsewhere")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO(raw)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(link, str(tmp_path))
    (tmp_path / f"{FOLDER}.zip").write_bytes(buffer.getvalue())
    tinyimagenet.load(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_symlink()]


def test_an_archive_without_room_or_contents_is_named(
    tmp_path: Path, write: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{FOLDER}.zip").write_bytes(zipped(write(tmp_path / "made")))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(extraction.shutil, "disk_usage", lambda path: usage._replace(free=1))
    refused(tmp_path, "more than is free")
    with zipfile.ZipFile(tmp_path / f"{FOLDER}.zip", "w"):
        pass
    refused(tmp_path, "is empty")


def test_another_process_may_be_faster(
    tmp_path: Path, write: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{FOLDER}.zip").write_bytes(zipped(write(tmp_path / "made")))
    extract = extraction._extract

    def slow(*arguments: Any) -> None:
        extract(*arguments)
        shutil.copytree(tmp_path / "made" / FOLDER, tmp_path / FOLDER)

    monkeypatch.setattr(extraction, "_extract", slow)
    check(tinyimagenet.load(tmp_path), tmp_path / "made" / FOLDER)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", FOLDER, f"{FOLDER}.zip"]
