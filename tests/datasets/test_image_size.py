"""``--image-size``: images of any sizes, brought to one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deepal_autoal import load_dataset, run
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.datasets import are_image_files
from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files import decoding
from deepal_autoal.datasets.files.image_size import covering_size, fitted, image_size_text, read_image_size
from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.files import read_json

Write = Callable[..., Path]
SIZES = ((12, 9), (9, 12), (20, 10), (10, 10))  # width x height


@pytest.fixture
def photos(tmp_path: Path, write_image: Write) -> Path:
    """A folder of two classes with ten images each, of four sizes."""
    for number in range(20):
        write_image(tmp_path / "photos" / "ab"[number % 2] / f"{number:02d}.png", size=SIZES[number // 2 % 4])
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (None, None), (32, (32, 32)), ("32", (32, 32)), (" 32x48 ", (32, 48)), ("32X48", (32, 48)),
        ((32, 48), (32, 48)), ([32], (32, 32)), (np.int64(5), (5, 5)),
    ],
)  # fmt: skip
def test_ways_to_write_it(given: Any, size: tuple[int, int] | None) -> None:
    assert read_image_size(given) == size
    assert image_size_text(given) == (None if size is None else f"{size[0]}x{size[1]}")


@pytest.mark.parametrize(
    "given",
    [0, -1, 8193, 3.0, True, "0", "32x", "x32", "32x32x3", "big", "", "1e3", "9" * 5000, (1, 2, 3), (), {"side": 3}],
)
def test_anything_else_is_refused_in_one_line(given: Any) -> None:
    with pytest.raises(InputError, match=r"^--image-size .*such as 224, or height x width, such as 192x256") as caught:
        read_image_size(given)
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "size", "covering"),
    [
        ((600, 800), (224, 224), (224, 298)), ((800, 600), (224, 224), (298, 224)), ((10, 10), (32, 32), (32, 32)),
        ((600, 800), (100, 300), (225, 300)), ((600, 800), (300, 100), (300, 400)), ((3, 7000), (64, 64), (64, 149333)),
    ],
)  # fmt: skip
def test_the_shorter_side_is_scaled(image: tuple[int, int], size: tuple[int, int], covering: tuple[int, int]) -> None:
    assert covering_size(*image, size) == covering


@pytest.mark.parametrize("sides", [(37, 50), (50, 37), (123, 457), (20, 33), (31, 31)])
@pytest.mark.parametrize("size", [(16, 16), (32, 32), (33, 33), (64, 40), (12, 64)])
def test_it_is_a_resize_and_a_center_crop(sides: tuple[int, int], size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*sides, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    height, width = covering_size(*sides, size)
    top, left = round((height - size[0]) / 2), round((width - size[1]) / 2)
    whole = image.resize((width, height), Image.Resampling.BILINEAR)
    wanted = np.asarray(whole.crop((left, top, left + size[1], top + size[0])))
    found = np.asarray(fitted(image, size))
    assert found.shape == (*size, 3)
    assert np.abs(found.astype(int) - wanted).max() <= 1  # rounding


def test_a_long_strip_is_never_scaled_as_a_whole() -> None:
    strip = Image.fromarray(np.full((1, 50_000), 77, np.uint8))  # as a whole 8000 x 400,000,000 pixels
    assert np.unique(np.asarray(fitted(strip, (8000, 8)))).tolist() == [77]


def test_images_of_any_sizes_are_read(photos: Path) -> None:
    data = load_dataset(photos, image_size=8)
    assert data.x_train.shape == (16, 8, 8, 3) and data.x_test.shape == (4, 8, 8, 3)
    assert data.ids_train is not None
    for image, name in zip(data.x_train, data.ids_train, strict=True):
        np.testing.assert_array_equal(image, np.asarray(fitted(Image.open(photos / name), (8, 8))))
    assert load_dataset(photos, image_size="6x10").x_train.shape == (16, 6, 10, 3)
    assert data.source["image size"] == "8x8"


def test_a_manifest_takes_it_too_and_gray_images_stay_gray(tmp_path: Path, write_image: Write) -> None:
    lines = ["path,label,split"]
    for number in range(8):
        write_image(tmp_path / f"{number}.png", size=SIZES[number % 4], mode="L")
        lines.append(f"{number}.png,{'ab'[number % 2]},{'train' if number < 6 else 'test'}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    data = load_dataset(tmp_path / "list.csv", image_size=(5, 7))
    assert data.x_train.shape == (6, 5, 7, 1) and data.x_test.shape == (2, 5, 7, 1)
    assert are_image_files(tmp_path / "list.csv") and are_image_files(str(tmp_path)) and not are_image_files("digits")


def test_orientation_is_applied_before(tmp_path: Path) -> None:
    upright = np.zeros((8, 16, 3), np.uint8)
    upright[:, 8:] = 255  # white on the right
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            turned = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
            turned.save(tmp_path / label / f"{number}.png", exif=exif)
    for image in load_dataset(tmp_path, image_size="8x16").x_train:
        np.testing.assert_array_equal(image, upright)


def test_the_cache_keeps_sizes_apart(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_dataset(photos, image_size=8).x_train.copy()
    monkeypatch.setattr(decoding, "_decode", lambda *given: pytest.fail("decoded again"))
    np.testing.assert_array_equal(load_dataset(photos, image_size="8x8").x_train, first)
    monkeypatch.undo()
    assert load_dataset(photos, image_size=9).x_train.shape == (16, 9, 9, 3)
    assert load_dataset(photos, image_size=8).x_train.shape == (16, 8, 8, 3)


@pytest.mark.parametrize(
    ("smallest", "advised"), [((900, 700), 224), ((900, 64), 64), ((11, 30), 11)], ids=["photos", "low", "tiny"]
)
def test_mixed_sizes_name_it(
    tmp_path: Path, write_image: Write, smallest: tuple[int, int], advised: int, deepal: Any
) -> None:
    for number in range(4):
        write_image(tmp_path / "p" / "ab"[number % 2] / f"{number}.png", size=(800, 600) if number else smallest)
    status, _, err = deepal("run", "--dataset", "p", "--rounds", "0", "--initial", "2")
    assert status == 2 and len(err.splitlines()) == 1
    assert f"--image-size {advised} (the shorter side scaled to {advised}, the center kept)" in err


def test_data_without_image_files_refuse_it(tmp_path: Path, blob_data: Dataset, blob_file: Path) -> None:
    np.savez(tmp_path / "images.npz", x=np.zeros((9, 8, 8), np.uint8), y=np.arange(9) % 2)
    for dataset in (blob_file, tmp_path / "images.npz", "digits"):
        for call in (load_dataset, lambda given, image_size: run("random", given, image_size=image_size)):
            with pytest.raises(InputError, match=r"^--image-size 8.*does not consist of image files: leave it out"):
                call(dataset, image_size=8)  # type: ignore[operator]
    with pytest.raises(InputError, match=r"^--image-size 8x8: dataset blobs does not consist"):
        run("random", blob_data, image_size=8)


def test_a_run_records_it_and_resumes_only_with_it(photos: Path, tmp_path: Path, quick: dict[str, Any]) -> None:
    out = tmp_path / "run"
    quick |= {"initial": 4, "batch_size": 2, "rounds": 1}
    whole = run("entropy", photos, out=out, image_size=8, **quick)
    config = read_json(out / "config.json")
    assert config["settings"]["image_size"] == "8x8" and config["dataset"]["input_shape"] == [3, 8, 8]
    assert run("entropy", photos, out=out, resume=True).rounds == whole.rounds
    assert run("entropy", photos, out=out, resume=True, image_size=(8, 8)).rounds == whole.rounds
    with pytest.raises(RunFolderError, match="image_size was '8x8' and is now '9x9'"):
        run("entropy", photos, out=out, resume=True, image_size=9)


def test_a_benchmark_records_it_and_continues_only_with_it(photos: Path, tmp_path: Path, quick: dict[str, Any]) -> None:
    quick |= {"initial": 4, "batch_size": 2, "rounds": 1}
    out = tmp_path / "study"
    run_benchmark("random", [photos], 1, out, image_size=8, **quick)
    more = run_benchmark("margin", [photos], 1, out, image_size="8x8", **quick)
    assert len(more.tables.runs) == 2
    config = read_json(out / "photos/margin/seed-0/config.json")
    assert config["settings"]["image_size"] == "8x8"
    with pytest.raises(RunFolderError, match="image_size was '8x8' and is now '9x9'"):
        run_benchmark("entropy", [photos], 1, out, image_size=9, **quick)


def test_the_commands_take_it(photos: Path, tmp_path: Path, deepal: Any) -> None:
    quick = ["--model", "linear", "--initial", "4", "--batch-size", "2", "--rounds", "1", "--threads", "1"]
    status, _, err = deepal("run", "--dataset", photos, "--image-size", "6x8", "--out", "r", *quick)
    assert status == 0 and "images brought to 6x8 pixels" in err
    assert read_json(tmp_path / "r/config.json")["dataset"]["input_shape"] == [3, 6, 8]
    (tmp_path / "c.toml").write_text("image-size = 8\n")
    status, *_ = deepal("benchmark", "--dataset", photos, "--strategies", "random", "--seeds", "1", "--config",
                        "c.toml", "--out", "b", *quick)  # fmt: skip
    assert status == 0
    assert read_json(tmp_path / "b/photos/random/seed-0/config.json")["settings"]["image_size"] == "8x8"
    status, *_ = deepal("embed", "--dataset", photos, "--image-size", "8", "--model", "r", "--out", "e.npz")
    assert status == 2  # the run's model takes 6x8
    status, *_ = deepal("embed", "--dataset", photos, "--image-size", "6x8", "--model", "r", "--out", "e.npz")
    assert status == 0
    status, *_ = deepal("embed", "--dataset", "digits", "--image-size", "16", "--model", "cnn", "--out", "d.npz")
    assert status == 0 and np.load(tmp_path / "d.npz")["x"].shape == (1438, 128)
    for command in (["run"], ["benchmark", "--strategies", "random"]):
        status, _, err = deepal(*command, "--dataset", photos, "--image-size", "huge")
        assert status == 2 and err.startswith("Error: --image-size huge: give the side in pixels")
