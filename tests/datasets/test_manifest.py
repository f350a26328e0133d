from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepal_autoal.datasets.files import decoding
from deepal_autoal.datasets.user_data.manifest import load_manifest
from deepal_autoal.errors import InputError

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, write_image: Write) -> Path:
    inside = tmp_path / "data"
    for number in range(6):
        write_image(inside / "images" / f"{number}.png")
    write_image(tmp_path / "outside.png")
    write_image(tmp_path / "data-too" / "0.png")
    return inside


def manifest(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "all.csv"
    path.write_bytes(text.encode(encoding))
    return path


def refused(folder: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_manifest(manifest(folder, text))
    assert "all.csv" in str(caught.value) and "\n" not in str(caught.value)


def rows(count: int = 6, split: str = "") -> str:
    return "".join(f"images/{i}.png,{'cat' if i % 2 else 'dog'}{split}\n" for i in range(count))


def test_rows_with_a_split_keep_their_order(folder: Path) -> None:
    text = 'Split, path ,label\ntest,images/5.png,9\n\ntrain,images/3.png,10\n"train","images/0.png","9"\n'
    data = load_manifest(manifest(folder, text, "utf-8-sig"))
    assert data.name == "all" and data.class_names == ("9", "10")
    assert data.y_train.tolist() == [1, 0] and data.y_test.tolist() == [0]
    for image, number in ((data.x_train[0], 3), (data.x_train[1], 0), (data.x_test[0], 5)):
        np.testing.assert_array_equal(image, np.asarray(Image.open(folder / "images" / f"{number}.png")))
    assert isinstance(data.x_train, np.memmap)


@pytest.mark.parametrize("header", ["path,label\n", "path,label,split\n"])
def test_without_test_rows_a_fifth_is_held_out(folder: Path, header: str) -> None:
    data = load_manifest(manifest(folder, header + rows(split=",train" if "split" in header else "")))
    assert len(data.x_train) == 5 and len(data.x_test) == 1
    assert data.class_names == ("cat", "dog")


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_separators_and_splits_as_spreadsheets_write_them(folder: Path, mark: str) -> None:
    lines = ["path,label,split", *(f"images/{i}.png,{'cat' if i % 2 else 'dog'},{'TEST' if i > 3 else 'Train'}"
                                   for i in range(6))]  # fmt: skip
    data = load_manifest(manifest(folder, "\r\n".join(lines).replace(",", mark)))
    assert data.y_train.tolist() == [1, 0, 1, 0] and data.y_test.tolist() == [1, 0]


def test_manifests_in_one_folder_keep_separate_caches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "some.csv").write_text("path,label\n" + rows(4))
    first = load_manifest(manifest(folder, "path,label\n" + rows()))
    assert len(load_manifest(folder / "some.csv").x_train) == 3
    monkeypatch.setattr(decoding, "_decode", None)
    np.testing.assert_array_equal(load_manifest(folder / "all.csv").x_train, first.x_train)


def test_other_columns_cause_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "path,label,spllit\n" + rows(split=",test")
    with caplog.at_level(logging.WARNING):
        load_manifest(manifest(folder, text))
    assert "spllit" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line must name the columns"),
        ("images/0.png,cat\nimages/1.png,dog\n", "first line must name the columns"),
        ("path|label\nimages/0.png|cat\n", "separated by commas, semicolons or tabs"),
        ("a,b,kind\n1,2,cat\n", "it reads 'a,b,kind'. For a table of features, .* labels: --target COLUMN"),
        ("path,label,label\nimages/0.png,cat,cat\n", "first line must name the columns"),
        ("path,label\n", "lists no training images"),
        ("path,label,split\nimages/0.png,cat,test\n", "lists no training images; add rows with split train"),
        ("path,label\n" + rows() + "images/none.png,cat\n", r"line 8: .*none\.png cannot be read"),
        ("path,label\n" + rows() + "images,cat\n", "line 8: .*images is not a file"),
        ("path,label\n" + rows() + ",cat\n", "line 8: the path is empty"),
        ("path,label\n" + rows(5) + "images/5.png,\n", "line 7: the label is empty"),
        ("path,label\n" + rows(5) + "images/5.png,nan\n", "line 7: the label 'nan' stands for a missing one"),
        ("path,label\n" + rows(5) + "images/5.png,None\n", "line 7: the label 'None' stands for a missing one"),
        ("path,label\n" + rows(5) + "images/5.png, N/A \n", "line 7: the label 'N/A' stands for a missing one"),
        ("path,label\n" + rows(5) + "images/5.png\n", "line 7: 1 fields where the header names 2"),
        ("path,label\n" + rows(5) + "images/5.png,a,b\n", "line 7: 3 fields"),
        ("path,label,split\n" + rows(split=",valid"), "line 2: split is 'valid'"),
        ("path,label,split\n" + rows(split=","), "line 2: split is ''"),
        ("path,label\n" + rows() + "images/../images/0.png,cat\n", r"line 8: .*second time \(first in line 2\)"),
        ("path,label\n" + rows(5) + "images/5.png,-1\n", "-1 is negative"),
        ("path,label\nimages/0.png,0.5\nimages/1.png,1\n", "0.5 is not a class"),
        ("path,label,split\n" + rows(5, ",train") + "images/5.png,fox,test\n", r"without training samples \(fox\)"),
        ("path,label\n" + rows().replace("images/3", "images/\0"), "relative path|must be a path relative|line"),
        ('path,label\n"images/0.png,cat\n', "line"),
    ],
)
def test_bad_tables_are_refused(folder: Path, text: str, message: str) -> None:
    refused(folder, text, message)


def test_one_class_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"only one class \(cat\)"):
        load_manifest(manifest(folder, "path,label\n" + rows().replace("dog", "cat")))


def test_other_encodings_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        load_manifest(manifest(folder, "path,label\n" + rows().replace("dog", "hündin"), "latin-1"))


@pytest.mark.parametrize(
    "path", ["../outside.png", "images/../../outside.png", "../data-too/0.png", "./.././outside.png"]
)
def test_paths_out_of_the_folder_are_refused(folder: Path, path: str) -> None:
    refused(folder, f"path,label\n{rows()}{path},cat\n", "line 8: .*leads out of the manifest's folder")


def test_absolute_paths_are_refused_even_inside(folder: Path) -> None:
    refused(folder, f"path,label\n{rows()}{folder}/images/0.png,cat\n", "line 8: .*must be a path relative")


def test_links_out_of_the_folder_are_refused(folder: Path) -> None:
    (folder / "file.png").symlink_to(folder.parent / "outside.png")
    refused(folder, f"path,label\n{rows()}file.png,cat\n", "file.png leads out")
    (folder / "up").symlink_to(folder.parent)
    refused(folder, f"path,label\n{rows()}up/outside.png,cat\n", "leads out")
    # Textually inside, but ".." is taken after the link is followed.
    (folder / "side").symlink_to(folder.parent / "data-too")
    refused(folder, f"path,label\n{rows()}side/../outside.png,cat\n", "leads out")


def test_links_within_the_folder_are_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "more.png").symlink_to(folder / "images" / "0.png")
    (folder / "pictures").symlink_to(folder / "images")
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    manifest(folder, f"path,label\n{rows()}more.png,cat\npictures/1.png,cat\n")
    data = load_manifest(linked / "all.csv")
    assert len(data.x_train) + len(data.x_test) == 8


def test_a_damaged_image_is_named(folder: Path, write_image: Write) -> None:
    bad = write_image(folder / "images" / "bad.png", size=(64, 64))
    bad.write_bytes(bad.read_bytes()[:100])
    with pytest.raises(InputError, match=r"bad\.png cannot be read as an image"):
        load_manifest(manifest(folder, f"path,label\nimages/bad.png,cat\n{rows()}"))


def test_a_path_longer_than_any_is_shortened_in_the_message(folder: Path) -> None:
    (folder / "own.csv").write_text(f"path,label\n{'x/' * 3000}a.png,a\n")
    with pytest.raises(InputError, match=r"line 2: 'x/x.* is too long for a path") as caught:
        load_manifest(folder / "own.csv")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\u2028b"])
def test_an_error_is_one_line_whatever_a_name_holds(folder: Path, name: str) -> None:
    (folder / f"{name}.csv").write_text("file,label\na.png,a\n")
    with pytest.raises(InputError) as caught:
        load_manifest(folder / f"{name}.csv")
    assert len(str(caught.value).splitlines()) == 1 and "/a b.csv: the first line must name" in str(caught.value)
