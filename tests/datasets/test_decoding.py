from __future__ import annotations

import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepal_autoal.datasets.files import decoding
from deepal_autoal.datasets.user_data.image_folder import load_image_folder
from deepal_autoal.errors import InputError
from deepal_autoal.numerics.row_blocks import BlockSize

Write = Callable[..., Path]


@pytest.fixture
def load_pair(tmp_path: Path) -> Callable[..., np.ndarray]:
    """Return a function that saves images in two classes and returns them as loaded, in the order of their names."""

    def load(*images: Image.Image, suffix: str = ".png") -> np.ndarray:
        for number, image in enumerate((*images, *images)):
            path = tmp_path / "train" / "ab"[number >= len(images)] / f"{number:03d}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
        (tmp_path / "test" / "a").mkdir(parents=True, exist_ok=True)
        images[0].save(tmp_path / "test" / "a" / f"0{suffix}")
        return load_image_folder(tmp_path).x_train[: len(images)]

    return load


def noise(*shape: int, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def test_grayscale_images_have_one_channel(load_pair: Callable[..., np.ndarray]) -> None:
    gray = noise(4, 5)
    with_alpha = Image.merge("LA", [Image.fromarray(gray), Image.fromarray(noise(4, 5))])
    loaded = load_pair(Image.fromarray(gray), with_alpha)
    assert loaded.shape == (2, 4, 5, 1)
    np.testing.assert_array_equal(loaded[0, ..., 0], gray)
    np.testing.assert_array_equal(loaded[1, ..., 0], gray)


def test_bilevel_images_are_black_and_white(load_pair: Callable[..., np.ndarray]) -> None:
    loaded = load_pair(Image.fromarray(noise(4, 5)).convert("1"))
    assert set(np.unique(loaded)) <= {0, 255}


def test_sixteen_bit_grayscale_is_scaled(load_pair: Callable[..., np.ndarray]) -> None:
    deep = noise(4, 5, dtype="uint16")
    deep[0, :3] = 0, 257, 65535
    loaded = load_pair(Image.fromarray(deep))
    assert loaded.shape == (1, 4, 5, 1)
    np.testing.assert_array_equal(loaded[0, ..., 0], np.round(deep / 257).astype(np.uint8))
    assert loaded[0, 0, :3, 0].tolist() == [0, 1, 255]


def test_thirty_two_bit_grayscale_is_refused(load_pair: Callable[..., np.ndarray]) -> None:
    with pytest.raises(InputError, match=r"000\.tif.*neither 8 nor 16 bits"):
        load_pair(Image.fromarray(noise(4, 5).astype(np.float32)), suffix=".tif")


def test_one_color_image_gives_all_images_three_channels(load_pair: Callable[..., np.ndarray]) -> None:
    gray, color = noise(4, 5), noise(4, 5, 3)
    loaded = load_pair(Image.fromarray(gray), Image.fromarray(gray), Image.fromarray(color))
    assert loaded.shape == (3, 4, 5, 3)
    np.testing.assert_array_equal(loaded[0], np.repeat(gray[..., None], 3, axis=2))
    np.testing.assert_array_equal(loaded[2], color)


def test_alpha_is_dropped_and_palettes_are_resolved(load_pair: Callable[..., np.ndarray]) -> None:
    color = noise(4, 5, 3)
    alpha = Image.fromarray(np.concatenate([color, noise(4, 5, 1)], axis=2))
    palette = Image.fromarray(color).quantize(20)
    palette.info["transparency"] = bytes([0, 128, 255])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_pair(alpha, palette)
    np.testing.assert_array_equal(loaded[0], color)
    np.testing.assert_array_equal(loaded[1], np.asarray(palette.convert("RGBA"))[..., :3])


@pytest.mark.parametrize("suffix", [".bmp", ".gif", ".ppm", ".tiff", ".webp", ".jpg"])
def test_formats_are_decoded(load_pair: Callable[..., np.ndarray], suffix: str) -> None:
    flat = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    loaded = load_pair(Image.fromarray(flat), suffix=suffix)
    assert np.abs(loaded[0].astype(int) - flat).max() <= 3


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_orientation_is_applied(tmp_path: Path, suffix: str) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:, 16:] = 255  # white on the right
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated: display it rotated by 90 degrees clockwise
    turned = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    for label in "ab":
        (tmp_path / label).mkdir()
        Image.fromarray(upright).save(tmp_path / label / f"0{suffix}")
        turned.save(tmp_path / label / f"1{suffix}", exif=exif)
    data = load_image_folder(tmp_path)
    for image in (*data.x_train, *data.x_test):
        assert np.abs(image.astype(int) - upright).max() < 30


def test_mixed_sizes_are_refused_with_both_files_and_sizes(
    tmp_path: Path, write_folder: Write, write_image: Write
) -> None:
    write_folder(tmp_path / "train", {"a": 3, "b": 3})
    write_folder(tmp_path / "test", {"a": 1})
    other = write_image(tmp_path / "train" / "b" / "1.png", size=(7, 5))
    write_image(tmp_path / "train" / "b" / "2.png", size=(9, 9))
    with pytest.raises(InputError) as caught:
        load_image_folder(tmp_path)
    first = tmp_path / "train" / "a" / "0.png"
    assert str(caught.value).startswith(f"{other} is 7x5 pixels but {first} is 6x5")
    assert "--image-size 5 " in str(caught.value) and "\n" not in str(caught.value)


def test_swapped_sides_are_different_sizes(tmp_path: Path, write_folder: Write, write_image: Write) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    write_image(tmp_path / "b" / "2.png", size=(5, 6))
    with pytest.raises(InputError, match=r"(5x6 pixels but .* 6x5|6x5 pixels but .* 5x6)"):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".tif", ".webp"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_damaged_images_are_refused_by_name(
    tmp_path: Path, write_folder: Write, write_image: Write, suffix: str, damage: str
) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    bad = write_image(tmp_path / "b" / f"bad{suffix}", size=(64, 64))
    for label in "ab":
        for number in range(2):
            write_image(tmp_path / label / f"{number}.png", size=(64, 64))
    contents = bad.read_bytes()
    bad.write_bytes({"truncated": contents[: len(contents) // 2], "empty": b"", "text": b"not an image\n" * 50}[damage])
    with pytest.raises(InputError) as caught:
        load_image_folder(tmp_path)
    assert str(caught.value).startswith(str(bad)) and "\n" not in str(caught.value)


def test_a_format_that_runs_programs_is_refused(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a" / "0.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 5\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(InputError, match=r"0\.png is not an image"):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("side", [9_000, 12_000, 40_000])
def test_decompression_bombs_are_refused_from_their_header(tmp_path: Path, write_folder: Write, side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    write_folder(tmp_path, {"a": 2, "b": 2})
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = tmp_path / "b" / "1.png"
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b""))
    with (
        warnings.catch_warnings(record=True) as shown,
        pytest.raises(InputError, match=r"1\.png has more than 67,108,864 pixels"),
    ):
        warnings.simplefilter("always")
        load_image_folder(tmp_path)
    assert not shown


def test_the_documented_size_limit_is_the_codes() -> None:
    page = Path(__file__).parents[2] / "docs" / "data.md"
    assert f"more than {decoding.MAX_PIXELS:,} pixels" in page.read_text(encoding="utf-8")


def test_blocks_keep_order_and_size(tmp_path: Path, write_folder: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted(write_folder(tmp_path, {"a": 23}).glob("a/*"))
    monkeypatch.setattr(decoding, "DECODING", BlockSize(1 << 20, most_rows=5))
    monkeypatch.setattr(decoding.os, "cpu_count", lambda: 3)
    made = decoding.decode_images(files, gray=False)
    blocks = list(made.blocks)
    assert made.shape == (23, 5, 6, 3) and [len(block) for block in blocks] == [5, 5, 5, 5, 3]
    for file, image in zip(files, np.concatenate(blocks), strict=True):
        np.testing.assert_array_equal(image, np.asarray(Image.open(file)))


def test_no_progress_is_shown_without_a_terminal(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    code = "import sys; from deepal_autoal.datasets import load_dataset; load_dataset(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr == "" and done.stdout == ""
