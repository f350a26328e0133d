"""Image files that cannot be used: named all at once, or left out and recorded."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deepal_autoal import run
from deepal_autoal.datasets import load_dataset
from deepal_autoal.datasets.files import image_files
from deepal_autoal.datasets.files.array_cache import cache_folder
from deepal_autoal.datasets.user_data.npz import load_npz
from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.experiment.embedding import embed

Write = Callable[..., Path]
QUICK: dict[str, Any] = {
    "initial": 4, "batch_size": 2, "rounds": 1, "model": "linear", "epochs": 1, "min_steps": 1, "device": "cpu",
    "threads": 1,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, write_folder: Write) -> Path:
    """Twelve files in two classes, three of which cannot be used: damaged, of another kind, and a broken link."""
    data = write_folder(tmp_path / "pets", {"cat": 5, "dog": 5})
    (data / "cat" / "2.png").write_bytes(b"no image")
    (data / "dog" / "scan.dcm").write_bytes(b"DICM")
    (data / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    return data


def damage(folder: Path, label: str, numbers: range) -> None:
    for number in numbers:
        (folder / label / f"{number}.png").write_bytes(b"")


def message(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        load_dataset(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_bad_files_are_named_at_once(folder: Path) -> None:
    said = message(folder)
    assert said.startswith(f"3 of 12 files in {folder} cannot be used: ")
    for part in ("dog/gone.png (is not a readable file)", "dog/scan.dcm (does not have an image suffix)",
                 "cat/2.png (is not an image that can be read)"):  # fmt: skip
        assert part in said
    assert said.endswith("remove or replace them, or go on without them with --skip-bad")


def test_bad_files_are_named_before_sizes_that_differ(tmp_path: Path, write_folder: Write) -> None:
    folder = write_folder(tmp_path / "pets", {"cat": 5, "dog": 5})
    Image.new("L", (9, 7)).save(folder / "cat" / "0.png")
    assert re.match(r"\S+ is \d+x\d+ pixels but \S+ is \d+x\d+", message(folder))
    damage(folder, "dog", range(2, 4))
    said = message(folder)
    assert said.startswith(f"2 of 10 files in {folder} cannot be used: dog/2.png, dog/3.png (")
    assert "go on without them with --skip-bad; moreover, " in said and " pixels but " in said
    assert "--image-size" in said
    assert message(folder, skip_bad=True).count("dog/") == said.partition("moreover")[2].count("dog/")
    assert len(load_dataset(folder, image_size=6, skip_bad=True).skipped) == 2


def test_of_many_the_first_ten_are_named_with_the_count(tmp_path: Path, write_folder: Write) -> None:
    data = write_folder(tmp_path / "pets", {"cat": 30, "dog": 30})
    damage(data, "cat", range(5, 17))
    said = message(data)
    assert said.startswith("12 of 60 files in ") and ", and 2 more; " in said
    assert said.count(".png") == 10


def test_they_are_left_out_on_request(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):  # decoded, then from the cache
        caplog.clear()
        data = load_dataset(folder, skip_bad=True)
        assert data.skipped == ("cat/2.png", "dog/gone.png", "dog/scan.dcm")
        assert data.describe()["skipped"] == list(data.skipped)
        assert len(data.x_train) + len(data.x_test) == 9
        assert data.ids_train is not None and data.ids_test is not None
        assert not {*data.ids_train, *data.ids_test} & {*data.skipped}
        assert "3 of 12 files are left out" in caplog.text and "cat/2.png" in caplog.text
    (folder / "cat" / "2.png").unlink()
    (folder / "dog" / "gone.png").unlink()
    (folder / "dog" / "scan.dcm").unlink()
    plain = load_dataset(folder)
    assert plain.fingerprint == data.fingerprint and not plain.skipped and "skipped" not in plain.describe()


def test_what_was_left_out_is_found_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_dataset(folder, skip_bad=True)
    with monkeypatch.context() as patch:
        patch.setattr(image_files, "find_bad_files", None)
        assert load_dataset(folder, skip_bad=True).fingerprint == first.fingerprint
    (record,) = cache_folder().glob("*.images.json")
    record.write_text(record.read_text().replace("cat/2.png", "cat/3.png"))  # damaged: found again
    assert load_dataset(folder, skip_bad=True).skipped == first.skipped


def test_a_repaired_file_is_used_again(folder: Path, write_image: Write) -> None:
    load_dataset(folder, skip_bad=True)
    write_image(folder / "cat" / "2.png")
    assert load_dataset(folder, skip_bad=True).skipped == ("dog/gone.png", "dog/scan.dcm")


def test_missing_and_bad_files_of_a_manifest_are_named_and_left_out(folder: Path) -> None:
    rows = "".join(f"{label}/{n}.png,{label}\n" for label in ("cat", "dog") for n in range(5))
    manifest = folder / "all.csv"
    manifest.write_text(f"path,label\n{rows}dog/none.png,dog\ndog,dog\n")
    said = message(manifest)
    assert said.startswith("3 of 12 files in ") and "cat/2.png (is not an image" in said
    assert "dog/none.png (cannot be read: No such file" in said and "dog (is not a file)" in said
    assert load_dataset(manifest, skip_bad=True).skipped == ("cat/2.png", "dog", "dog/none.png")


def test_a_class_or_a_test_split_is_not_left_out(tmp_path: Path, write_folder: Write) -> None:
    data = write_folder(tmp_path / "pets", {"cat": 3, "dog": 3})
    damage(data, "cat", range(3))
    assert "no training image of class cat can be used" in message(data, skip_bad=True)
    split = tmp_path / "split"
    write_folder(split / "train", {"cat": 3, "dog": 3})
    write_folder(split / "test", {"cat": 1, "dog": 1})
    damage(split / "test", "cat", range(1))
    damage(split / "test", "dog", range(1))
    assert "none of its test images can be used" in message(split, skip_bad=True)
    for label in ("cat", "dog"):  # found before anything is decoded
        (split / "test" / label / "0.png").rename(split / "test" / label / "0.dcm")
    assert "none of its test images can be used" in message(split, skip_bad=True)


def test_a_run_records_what_it_left_out_and_compares_it_on_resume(
    folder: Path, tmp_path: Path, write_image: Write
) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError, match=r"3 of 12 files"):
        run("random", folder, out=out, **QUICK)
    result = run("random", folder, out=out, skip_bad=True, **QUICK)
    config = json.loads((out / "config.json").read_text())
    assert config["dataset"]["skipped"] == ["cat/2.png", "dog/gone.png", "dog/scan.dcm"]
    assert config["settings"]["skip_bad"] is True
    again = run(out=out, resume=True)  # the recorded setting is kept
    assert again.rounds == result.rounds
    write_image(folder / "cat" / "2.png")
    with pytest.raises(RunFolderError, match=r"dataset\.skipped was .*cat/2\.png.* and is now \['dog/gone\.png'"):
        run(out=out, resume=True)


def test_embeddings_carry_what_was_left_out(folder: Path, tmp_path: Path) -> None:
    data = load_dataset(folder, skip_bad=True)
    embed(data, "linear", tmp_path / "pool.npz", device="cpu")
    embedded = load_npz(tmp_path / "pool.npz")
    assert embedded.skipped == data.skipped
    np.testing.assert_array_equal(embedded.y_train, data.y_train)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_pipes_are_bad_files_and_no_datasets(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "cat" / "pipe.png")
    assert "4 of 13 files" in (said := message(folder)) and "cat/pipe.png" in said
    assert "cat/pipe.png" in load_dataset(folder, skip_bad=True).skipped
    for name in ("own.npz", "own.csv"):
        os.mkfifo(tmp_path / name)
        assert "is not a dataset" in message(tmp_path / name)


def test_without_image_files_skip_bad_is_said_to_have_no_effect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.savez(tmp_path / "own.npz", x=np.zeros((10, 2), np.float32), y=np.arange(10) % 2)
    data = load_dataset(tmp_path / "own.npz", skip_bad=True)
    load_dataset("digits", skip_bad=True)
    run("random", data, skip_bad=True, **QUICK)
    said = [record.getMessage() for record in caplog.records if "--skip-bad has no effect" in record.getMessage()]
    assert [line.partition(" does not")[0].rpartition("effect: ")[2] for line in said] == [
        str(tmp_path / "own.npz"), "dataset digits", "dataset own",
    ]  # fmt: skip
