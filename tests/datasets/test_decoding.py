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
from deepal_autoal.datasets.files.image_findings import ImageFindings
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


@pytest.mark.parametrize(("dtype", "suffix"), [("uint16", ".png"), ("uint16", ".tif"), ("int32", ".tif")])
@pytest.mark.parametrize(("bits", "largest"), [(8, 255), (8, 90), (10, 1023), (12, 4095), (12, 2100), (15, 20000)])
def test_wide_values_are_read_on_the_scale_of_all_images(
    load_pair: Callable[..., np.ndarray],
    caplog: pytest.LogCaptureFixture,
    dtype: str,
    suffix: str,
    bits: int,
    largest: int,
) -> None:
    values = np.random.default_rng(0).integers(0, largest + 1, (2, 20, 25)).astype(dtype)
    values[1] //= 3  # darker as a whole, and so it must stay
    values[0, 0, 0] = largest
    loaded = load_pair(*map(Image.fromarray, values), suffix=suffix)
    np.testing.assert_array_equal(loaded[..., 0], np.round(values / (2**bits - 1) * 255).astype(np.uint8))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and f"reach only {largest} and are read as {bits}-bit values" in said[0]


def test_the_scale_is_said_again_when_the_images_come_from_the_cache(
    load_pair: Callable[..., np.ndarray], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_pair(Image.fromarray(noise(4, 5).astype(np.uint16) * 16))
    caplog.clear()
    data = load_image_folder(tmp_path)
    assert "read as 12-bit values" in caplog.text
    assert "read as 12-bit values" in data.source["remarks"]


def test_a_few_bright_values_on_a_dark_scale_are_reported(
    load_pair: Callable[..., np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (60, 60)).astype(np.uint16)
    values[3, 4] = 65535
    load_pair(Image.fromarray(values))
    assert "almost all 16-bit gray values are below 8192, but a few reach 65535" in caplog.text


def png_of_16_bit_color(values: np.ndarray) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = values.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [12, 16])
def test_color_of_fewer_than_its_16_bits_is_refused(tmp_path: Path, bits: int) -> None:
    values = np.random.default_rng(0).integers(0, 2**bits, (4, 5, 3)).astype(np.uint16)
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            (tmp_path / label / f"{number}.png").write_bytes(png_of_16_bit_color(values))
    if bits == 12:
        with pytest.raises(InputError, match=r"hold no value above 4095 of 65535.*convert them to 8 bits"):
            load_image_folder(tmp_path)
    else:
        np.testing.assert_array_equal(load_image_folder(tmp_path).x_test[0], values >> 8)


def write_bands(path: Path, n_bands: int, extra: tuple[int, ...]) -> np.ndarray:
    """Write an uncompressed TIFF, RGB and further bands that are not or of an unknown kind."""
    pixels = noise(4, 5, n_bands)
    entries = [(256, 5), (257, 4), (258, (8,) * n_bands), (259, 1), (262, 2), (273, 0), (277, n_bands), (278, 4),
               (279, pixels.size), (338, extra)]  # fmt: skip
    at = 8 + 2 + 12 * len(entries) + 4
    table, beyond = b"", b""
    for tag, value in entries:
        values = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"<{len(values)}H", *values)
        if tag == 273:
            table += struct.pack("<HHII", tag, 4, 1, at + 2 * n_bands + 2 * len(extra))
        elif len(packed) > 4:
            table += struct.pack("<HHII", tag, 3, len(values), at + len(beyond))
            beyond += packed
        else:
            table += struct.pack("<HHI4s", tag, 3, len(values), packed.ljust(4, b"\0"))
    beyond = beyond.ljust(2 * n_bands + 2 * len(extra), b"\0")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + beyond + pixels.tobytes())
    return pixels


@pytest.mark.parametrize(("n_bands", "extra"), [(4, (0,)), (5, (0, 0)), (6, (1, 0, 0))])
def test_bands_beyond_color_are_not_dropped(tmp_path: Path, n_bands: int, extra: tuple[int, ...]) -> None:
    for label in "ab":
        for number in range(2):
            write_bands(tmp_path / label / f"{number}.tif", n_bands, extra)
    with pytest.raises(InputError, match=r"has \d bands, of which only gray or RGB would be read.*\.npz"):
        load_image_folder(tmp_path)


def test_a_declared_alpha_channel_is_no_band(tmp_path: Path) -> None:
    for label in "ab":
        for number in range(2):
            pixels = write_bands(tmp_path / label / f"{number}.tif", 4, (2,))
    np.testing.assert_array_equal(load_image_folder(tmp_path).x_test[0], pixels[..., :3])


def test_pages_beyond_the_first_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pages = [Image.fromarray(noise(4, 5) // number) for number in (1, 2, 3)]
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            pages[0].save(tmp_path / label / f"{number}.tif", save_all=True, append_images=pages[1:])
    data = load_image_folder(tmp_path)
    np.testing.assert_array_equal(data.x_test[0, ..., 0], noise(4, 5))
    assert "4 files such as" in caplog.text and "only the first is used" in caplog.text


def test_damaged_metadata_beside_sound_pixels_is_ignored(tmp_path: Path) -> None:
    color = noise(12, 16, 3)
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            Image.fromarray(color).save(
                tmp_path / label / f"{number}.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03"
            )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load_image_folder(tmp_path)
    np.testing.assert_array_equal(data.x_test[0], color)


def test_values_that_are_neither_8_nor_16_bits_are_not_called_truncated(load_pair: Callable[..., np.ndarray]) -> None:
    with pytest.raises(InputError, match="gray values from -5 to 7, neither 8 nor 16 bits") as caught:
        load_pair(Image.fromarray(np.array([[-5, 7]], np.int32)), suffix=".tif")
    assert "truncated" not in str(caught.value)


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
    made = decoding.decode_images(files, gray=False, findings=ImageFindings())
    blocks = list(made.blocks)
    assert made.shape == (23, 5, 6, 3) and [len(block) for block in blocks] == [5, 5, 5, 5, 3]
    for file, image in zip(files, np.concatenate(blocks), strict=True):
        np.testing.assert_array_equal(image, np.asarray(Image.open(file)))


def test_no_progress_is_shown_without_a_terminal(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    code = "import sys; from deepal_autoal.datasets import load_dataset; load_dataset(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr == "" and done.stdout == ""
