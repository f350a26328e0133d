from __future__ import annotations

import inspect
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepal_autoal.datasets import load_dataset
from deepal_autoal.datasets.splits import held_out_split
from deepal_autoal.datasets.user_data import image_folder
from deepal_autoal.datasets.user_data.image_folder import load_image_folder
from deepal_autoal.errors import InputError

Write = Callable[..., Path]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def refused(folder: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_image_folder(folder)
    assert "\n" not in str(caught.value)


def test_class_folders_are_split_by_a_fixed_stream(tmp_path: Path, write_folder: Write) -> None:
    folder = write_folder(tmp_path / "pets", {"dog": 6, "cat": 4})
    data = load_image_folder(folder)
    assert data.name == "pets" and data.class_names == ("cat", "dog")
    assert data.x_train.shape == (8, 5, 6, 3) and data.x_test.shape == (2, 5, 6, 3)
    assert data.augmentation == ("crop",)
    listed = [(0, folder / "cat" / f"{i}.png") for i in range(4)] + [(1, folder / "dog" / f"{i}.png") for i in range(6)]
    train_rows, test_rows = held_out_split(10)
    for images, labels, rows in ((data.x_train, data.y_train, train_rows), (data.x_test, data.y_test, test_rows)):
        assert labels.tolist() == [listed[row][0] for row in rows]
        for image, row in zip(images, rows, strict=True):
            np.testing.assert_array_equal(image, pixels(listed[row][1]))


def test_train_and_test_folders(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path / "train", {"10": 2, "9": 3, "x": 1})
    write_folder(tmp_path / "test", {"9": 2})
    data = load_image_folder(tmp_path)
    assert data.class_names == ("10", "9", "x")
    assert data.class_counts == [2, 3, 1] and data.y_test.tolist() == [1, 1]
    np.testing.assert_array_equal(data.x_test[1], pixels(tmp_path / "test" / "9" / "1.png"))
    assert data.source["test split"] == "given"


def test_integer_class_names_are_sorted_as_numbers(tmp_path: Path, write_folder: Write) -> None:
    assert load_image_folder(write_folder(tmp_path, {"10": 2, "9": 2, "1": 2})).class_names == ("1", "9", "10")


def test_order_does_not_depend_on_the_file_system(
    tmp_path: Path, write_folder: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, {"a": 5, "b": 5})
    first = load_image_folder(tmp_path).fingerprint
    real = os.scandir

    class Reversed:
        def __init__(self, path: str) -> None:
            with real(path) as entries:
                self.entries = list(entries)[::-1]

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *exc: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert load_image_folder(tmp_path).fingerprint == first


def test_images_below_a_class_folder_belong_to_it_and_side_files_are_ignored(
    tmp_path: Path, write_folder: Write, write_image: Write
) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    write_image(tmp_path / "a" / "images" / "deep" / "z.PNG")
    for name in (".DS_Store", "Thumbs.db", "boxes.txt", "README", "._0.png", "labels.csv"):
        (tmp_path / "a" / name).write_bytes(b"no image")
        (tmp_path / name).write_bytes(b"no image")
    write_image(tmp_path / ".hidden" / "0.png")
    write_image(tmp_path / "__MACOSX" / "0.png")
    data = load_image_folder(tmp_path)
    assert data.class_names == ("a", "b") and len(data.x_train) + len(data.x_test) == 5


def test_a_class_may_be_called_train(tmp_path: Path, write_folder: Write) -> None:
    assert load_image_folder(write_folder(tmp_path, {"train": 3, "bus": 3})).class_names == ("bus", "train")


def test_unused_validation_data_are_reported(
    tmp_path: Path, write_folder: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(tmp_path / "train", {"a": 2, "b": 2})
    write_folder(tmp_path / "val", {"a": 2, "b": 2})
    refused(tmp_path, "rename val to test")
    write_folder(tmp_path / "test", {"a": 2, "b": 2})
    with caplog.at_level(logging.WARNING):
        assert len(load_image_folder(tmp_path).x_test) == 4
    assert "val is not used" in caplog.text
    write_folder(tmp_path / "more", {"a": 1})
    refused(tmp_path, "more beside train")


def test_empty_folders_are_refused(tmp_path: Path, write_folder: Write) -> None:
    refused(tmp_path, "no class folders")
    write_folder(tmp_path / "train", {"a": 2, "b": 2})
    (tmp_path / "test").mkdir()
    refused(tmp_path, r"test holds no class folders")
    shutil.rmtree(tmp_path / "test")
    (tmp_path / "train" / "c").mkdir()
    refused(tmp_path, r"class folder .*c holds no images")


def test_one_class_is_refused(tmp_path: Path, write_folder: Write) -> None:
    refused(write_folder(tmp_path, {"only": 5}), r"only one class \(only\)")


def test_test_classes_must_have_training_samples(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path / "train", {"a": 2, "b": 2})
    write_folder(tmp_path / "test", {"a": 2, "zebra": 2})
    refused(tmp_path, r"without training samples \(zebra\)")


@pytest.mark.parametrize("layout", ["", "train"])
def test_images_outside_class_folders_are_refused(
    tmp_path: Path, write_folder: Write, write_image: Write, layout: str
) -> None:
    write_folder(tmp_path / layout, {"a": 2, "b": 2})
    write_folder(tmp_path / "test", {"a": 2, "b": 2})
    stray = write_image(tmp_path / layout / "stray.png")
    refused(tmp_path, f"{stray} is outside the class folders")


def test_unknown_files_are_refused_by_name(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a" / "scan.dcm").write_bytes(b"DICM")
    refused(tmp_path, r"scan\.dcm does not have an image suffix")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_refused_without_blocking(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    os.mkfifo(tmp_path / "a" / "pipe.png")
    refused(tmp_path, r"pipe\.png is not a readable file")


def test_linked_folders_are_followed_but_not_in_cycles(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path / "data", {"a": 3, "b": 3})
    write_folder(tmp_path / "elsewhere", {"c": 2})
    (tmp_path / "data" / "c").symlink_to(tmp_path / "elsewhere" / "c")
    assert load_image_folder(tmp_path / "data").class_names == ("a", "b", "c")
    (tmp_path / "data" / "a" / "round").symlink_to(tmp_path / "data" / "a")
    refused(tmp_path / "data", "round links to a folder that contains it")


def test_a_broken_link_is_refused(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    refused(tmp_path, r"gone\.png is not a readable file")


def test_no_folder_is_read_twice(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path / "data", {"a": 3, "b": 3})
    (tmp_path / "data" / "a" / "again").symlink_to(tmp_path / "data" / "a" / "more")
    write_folder(tmp_path / "data" / "a", {"more": 1})
    refused(tmp_path / "data", "again and .*more are the same folder|more and .*again are the same folder")


def test_many_ways_to_one_folder_take_no_time(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    for depth in range(40):
        (tmp_path / f"w{depth}").mkdir()
    for depth in range(39):
        for way in "xy":
            (tmp_path / f"w{depth}" / way).symlink_to(tmp_path / f"w{depth + 1}")
    data = tmp_path / "data"
    data.mkdir()
    for label in "ab":
        (tmp_path / label).rename(data / label)
    (data / "a" / "ways").symlink_to(tmp_path / "w0")
    refused(data, "are the same folder")


@pytest.mark.parametrize("place", ["loop", "a/loop"])
def test_a_link_to_itself_is_refused(tmp_path: Path, write_folder: Write, place: str) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    (tmp_path / place).symlink_to(tmp_path / place)
    refused(tmp_path, "loop")
    with pytest.raises(InputError, match="loop"):
        load_dataset(tmp_path / place)


def test_folders_may_be_nested_deeper_than_calls(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / os.sep.join(["d"] * 400)).mkdir(parents=True)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 200)
    try:
        assert [name for name, _ in image_folder.images_in(tmp_path / "a", "")] == ["0.png", "1.png", "2.png"]
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize(
    "name",
    [
        "unlabelled",
        "unlabeled",
        "Unlabeled",
        "unsorted",
        "unknown",
        "un-labelled",
        "to_label",
        "unlabeled images",
        "nan",
    ],
)
@pytest.mark.parametrize("layout", [".", "train", "beside train"])
def test_a_folder_without_labels_is_no_class(tmp_path: Path, write_folder: Write, name: str, layout: str) -> None:
    folder = tmp_path if layout == "." else tmp_path / "train"
    write_folder(folder, {"cat": 3, "dog": 3})
    if layout != ".":
        write_folder(tmp_path / "test", {"cat": 3, "dog": 3})
    write_folder(folder if layout == "train" else tmp_path, {name: 3})
    refused(tmp_path, f"{name} holds images without labels.* rename it if it is a class")


@pytest.mark.parametrize("name", ["unknown_species", "none", "lab", "sorted", "unlit"])
def test_other_names_are_classes(tmp_path: Path, write_folder: Write, name: str) -> None:
    assert name in load_image_folder(write_folder(tmp_path, {"cat": 3, name: 3})).class_names
