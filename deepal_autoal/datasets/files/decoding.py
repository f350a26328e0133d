"""Decodes image files in a thread pool into blocks of one uint8 array."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.datasets.files.array_cache import ArrayBlocks
from deepal_autoal.datasets.files.image_size import USUAL_SIDE, fitted
from deepal_autoal.errors import InputError
from deepal_autoal.numerics.row_blocks import DECODING, row_slices

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 8192 * 8192
"""Larger images are rejected by their header, before anything is decoded."""

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
# Formats whose decoders are self-contained; EPS, for example, would run Ghostscript on the file.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_GRAY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
_ORIENTATION_TAG = 0x0112


class ColorFoundError(Exception):
    """An image that is to be decoded as grayscale has color."""


@contextmanager
def bombs_refused() -> Iterator[None]:
    """Turn Pillow's warning about very large images into an error inside the block.

    Enter it around `decode_images` and the use of its blocks: filters are global, so threads must not set them.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode_images(files: Sequence[Path], gray: bool, size: tuple[int, int] | None = None) -> ArrayBlocks:
    """Return the images as uint8 (N, H, W, C), decoded when the blocks are iterated over.

    C is 1 (``gray``) or 3. Alpha is dropped, palettes are resolved, 16-bit grayscale is scaled to 0..255, EXIF
    orientation is applied; only the first frame of an animation is used.

    Args:
        files: At least one.
        gray: Whether to decode as grayscale.
        size: Height and width that every image is brought to (see `fitted`); by default they must have one size.

    Raises:
        InputError: Now or during iteration, if a file is unreadable, truncated, not an image, too large, or
            differs in size from the first; the message names the first such file.
        ColorFoundError: During iteration, if ``gray`` and an image has color.
    """
    first = _decode(files[0], gray, None, size)
    shape = (len(files), *first.shape)
    return ArrayBlocks(shape, np.dtype(np.uint8), _blocks(files, gray, first.shape, size))


def _blocks(
    files: Sequence[Path], gray: bool, shape: tuple[int, ...], size: tuple[int, int] | None
) -> Iterator[np.ndarray]:
    from tqdm import tqdm

    n_threads = min(8, os.cpu_count() or 1)
    n_block = max(n_threads, DECODING.rows(int(np.prod(shape))))
    expected = (files[0], shape) if size is None else None
    with (
        ThreadPoolExecutor(n_threads, thread_name_prefix="decode") as threads,
        tqdm(total=len(files), desc="decoding images", unit="image", disable=None, leave=False) as progress,
    ):
        for rows in row_slices(len(files), n_block):
            block = files[rows]
            # map() returns results in order, so the first bad file is named, whichever thread fails first.
            yield np.stack(list(threads.map(lambda file: _decode(file, gray, expected, size), block)))
            progress.update(len(block))


def _decode(
    file: Path, gray: bool, expected: tuple[Path, tuple[int, ...]] | None, size: tuple[int, int] | None
) -> np.ndarray:
    """Return one image (H, W, C) brought to ``size``; ``expected`` is the first file and its array's shape."""
    with _opened(file) as image:
        if gray and image.mode not in _GRAY_MODES:
            raise ColorFoundError
        # Orientation may swap the sides, and for some formats it is known only after loading.
        if expected is not None and sorted(image.size) != sorted(expected[1][:2]):
            raise _size_error(file, image.size, expected)
        try:
            image.load()
            pixels = _pixels(_upright(image), gray)
        except (MemoryError, ColorFoundError):
            raise
        except Exception as error:  # decoders raise anything on broken files, from SyntaxError to IndexError
            raise InputError(_unreadable(file, error)) from error
    if expected is not None and pixels.shape != expected[1]:
        raise _size_error(file, (pixels.shape[1], pixels.shape[0]), expected)
    return pixels if size is None else _resized(pixels, size)


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    if pixels.shape[:2] == size:
        return pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(fitted(image, size)).reshape(*size, -1)


def _opened(file: Path) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(file, formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(_too_large(file)) from error
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{file} is not an image that can be read; remove or replace it") from error
    except Exception as error:
        raise InputError(_unreadable(file, error)) from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise InputError(_too_large(file))
    return image


def _upright(image: Image) -> Image:
    from PIL import ImageOps

    if image.getexif().get(_ORIENTATION_TAG, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _pixels(image: Image, gray: bool) -> np.ndarray:
    if image.mode in _GRAY_MODES:
        plane = _gray_plane(image)[..., np.newaxis]
        return plane if gray else np.repeat(plane, 3, axis=2)
    if gray:
        raise ColorFoundError
    if image.mode in ("P", "PA"):
        # Converted via RGBA, because Pillow warns if a palette's transparency is dropped directly.
        image = image.convert("RGBA")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _gray_plane(image: Image) -> np.ndarray:
    if image.mode == "L":
        return np.asarray(image)
    if image.mode in ("1", "LA"):
        return np.asarray(image.convert("L"))
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError("its gray values are neither 8 nor 16 bits; convert it to one of them")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _size_error(file: Path, size: tuple[int, ...], expected: tuple[Path, tuple[int, ...]]) -> InputError:
    first, shape = expected
    side = min(USUAL_SIDE, *size, *shape[:2])
    return InputError(
        f"{file} is {size[0]}x{size[1]} pixels but {first} is {shape[1]}x{shape[0]} (width x height); bring all to "
        f"one size, for example with --image-size {side} (the shorter side scaled to {side}, the center kept)"
    )


def _unreadable(file: Path, error: Exception) -> str:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return f"{file} cannot be read as an image ({reason}); it may be truncated: remove or replace it"


def _too_large(file: Path) -> str:
    return f"{file} has more than {MAX_PIXELS:,} pixels; scale it down"
