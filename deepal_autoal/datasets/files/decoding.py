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
from deepal_autoal.datasets.files.image_findings import ImageFindings
from deepal_autoal.datasets.files.image_size import USUAL_SIDE, fitted
from deepal_autoal.errors import InputError, error_message
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
_DEEP_MODES = _GRAY_MODES - {"1", "L", "LA"}
# Formats of which a file may hold several images. JPEG is left out: what cameras add to a picture are previews.
_FORMATS_OF_SEVERAL = frozenset({"GIF", "PNG", "TIFF", "WEBP"})
_ORIENTATION_TAG = 0x0112
_SAMPLES_TAG, _EXTRA_SAMPLES_TAG = 0x0115, 0x0152
_ALPHA_KINDS = (1, 2, 999)  # the last one is CorelDRAW's
_TO_INTEGERS = "convert it to one of them"


class BadFileError(InputError):
    """An image file that cannot be used.

    Attributes:
        reason: Why, to be put after the file's name.
        advice: What to do.
    """

    def __init__(self, file: object, reason: str, advice: str = "remove or replace it") -> None:
        super().__init__(f"{file} {reason}; {advice}")
        self.reason = reason
        self.advice = advice


class MixedSizesError(InputError):
    """An image that differs in size from the first."""


class _UnsupportedError(Exception):
    """Pixels that are sound but of a kind that is not read; what and why, in words, and what to do."""


class ColorFoundError(Exception):
    """An image that is to be decoded as grayscale has color."""


@contextmanager
def bombs_refused() -> Iterator[None]:
    """Turn Pillow's warning about very large images into an error inside the block, and hide its others.

    Those are about metadata, such as damaged EXIF data beside sound pixels.

    Enter it around `decode_images` and the use of its blocks: filters are global, so threads must not set them.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode_images(
    files: Sequence[Path], gray: bool, findings: ImageFindings, size: tuple[int, int] | None = None
) -> ArrayBlocks:
    """Return the images as uint8 (N, H, W, C), decoded when the blocks are iterated over.

    C is 1 (``gray``) or 3. Alpha is dropped, palettes are resolved, 16-bit grayscale is scaled to 0..255, EXIF
    orientation is applied; only the first frame of an animation is used.

    Args:
        files: At least one.
        gray: Whether to decode as grayscale.
        findings: Holds the scale of 16-bit values, and collects what is found.
        size: Height and width that every image is brought to (see `fitted`); by default they must have one size.

    Raises:
        BadFileError: Now or during iteration, if a file is unreadable, truncated, not an image, or too large; it
            names the first such file.
        MixedSizesError: During iteration, if an image differs in size from the first.
        InputError: At the end of the iteration; see `ImageFindings.check`.
        ColorFoundError: During iteration, if ``gray`` and an image has color.
        FewerBitsError: At the end of the iteration, if the 16-bit values have another scale.
    """
    first = _decode(files[0], gray, None, ImageFindings(findings.bits), size)
    shape = (len(files), *first.shape)
    return ArrayBlocks(shape, np.dtype(np.uint8), _blocks(files, gray, first.shape, findings, size))


def find_bad_files(files: Sequence[Path]) -> dict[Path, BadFileError]:
    """Decode every image, and return those that cannot be used, in the given order."""
    from tqdm import tqdm

    def error_of(file: Path) -> BadFileError | None:
        try:
            _decode(file, False, None, findings, None)
        except BadFileError as error:
            return error
        return None

    findings = ImageFindings()
    with bombs_refused(), _thread_pool() as threads:
        errors = tqdm(
            threads.map(error_of, files), total=len(files), desc="checking images", unit="image", disable=None,
            leave=False,
        )  # fmt: skip
        return {file: error for file, error in zip(files, errors, strict=True) if error is not None}


def _thread_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_n_threads(), thread_name_prefix="decode")


def _n_threads() -> int:
    return min(8, os.cpu_count() or 1)


def _blocks(
    files: Sequence[Path],
    gray: bool,
    shape: tuple[int, ...],
    findings: ImageFindings,
    size: tuple[int, int] | None,
) -> Iterator[np.ndarray]:
    from tqdm import tqdm

    n_block = max(_n_threads(), DECODING.rows(int(np.prod(shape))))
    expected = (files[0], shape) if size is None else None
    with (
        _thread_pool() as threads,
        tqdm(total=len(files), desc="decoding images", unit="image", disable=None, leave=False) as progress,
    ):
        for rows in row_slices(len(files), n_block):
            block = files[rows]
            # map() returns results in order, so the first bad file is named, whichever thread fails first.
            yield np.stack(list(threads.map(lambda file: _decode(file, gray, expected, findings, size), block)))
            progress.update(len(block))
    findings.check()


def _decode(
    file: Path,
    gray: bool,
    expected: tuple[Path, tuple[int, ...]] | None,
    findings: ImageFindings,
    size: tuple[int, int] | None,
) -> np.ndarray:
    """Return one image (H, W, C) brought to ``size``; ``expected`` is the first file and its array's shape."""
    with _opened(file) as image:
        if gray and image.mode not in _GRAY_MODES:
            raise ColorFoundError
        # Orientation may swap the sides, and for some formats it is known only after loading.
        if expected is not None and sorted(image.size) != sorted(expected[1][:2]):
            raise _size_error(file, image.size, expected)
        try:
            _check_bands(image)
            if image.format in _FORMATS_OF_SEVERAL and getattr(image, "is_animated", False):
                findings.note_frames(file)
            is_deep = image.mode not in _DEEP_MODES and ";16" in str(getattr(image, "tile", ""))
            image.load()
            pixels = _pixels(_upright(image), gray, findings)
            if is_deep:
                findings.note_color(pixels)
        except (MemoryError, ColorFoundError):
            raise
        except _UnsupportedError as error:
            raise BadFileError(file, *error.args) from error
        except Exception as error:  # decoders raise anything on broken files, from SyntaxError to IndexError
            raise _unreadable(file, error) from error
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
        raise _too_large(file) from error
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise BadFileError(file, "is not an image that can be read") from error
    except Exception as error:
        raise _unreadable(file, error) from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise _too_large(file)
    return image


def _upright(image: Image) -> Image:
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged metadata beside sound pixels
        return image
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _check_bands(image: Image) -> None:
    """Refuse TIFF files with more bands than are read; a declared alpha channel is not one."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    n_samples, extra = int(tags.get(_SAMPLES_TAG, 1)), tuple(tags.get(_EXTRA_SAMPLES_TAG, ()))
    n_bands = n_samples - sum(kind in _ALPHA_KINDS for kind in extra)
    if n_samples > 1 and n_bands > len(image.getbands()) - (image.mode in ("LA", "PA", "RGBA", "RGBX")):
        # Without any word on a fourth band of color, or a second one of gray, it is taken as alpha.
        if not extra and n_samples == len(image.getbands()):
            return
        raise _UnsupportedError(
            f"has {n_bands} bands, of which only gray or RGB would be read",
            f"save the bands as an array in an .npz file, x of shape (N, H, W, {n_bands})",
        )


def _pixels(image: Image, gray: bool, findings: ImageFindings) -> np.ndarray:
    if image.mode in _GRAY_MODES:
        plane = _gray_plane(image, findings)[..., np.newaxis]
        return plane if gray else np.repeat(plane, 3, axis=2)
    if gray:
        raise ColorFoundError
    if image.mode in ("P", "PA"):
        # Converted via RGBA, because Pillow warns if a palette's transparency is dropped directly.
        image = image.convert("RGBA")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _gray_plane(image: Image, findings: ImageFindings) -> np.ndarray:
    if image.mode == "L":
        return np.asarray(image)
    if image.mode in ("1", "LA"):
        return np.asarray(image.convert("L"))
    values = np.asarray(image)
    if image.mode == "F":
        raise _UnsupportedError("has floating-point gray values, neither 8 nor 16 bits", _TO_INTEGERS)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise _UnsupportedError(f"has gray values from {low} to {high}, neither 8 nor 16 bits", _TO_INTEGERS)
    return findings.gray_bytes(values)


def _size_error(file: Path, size: tuple[int, ...], expected: tuple[Path, tuple[int, ...]]) -> MixedSizesError:
    first, shape = expected
    side = min(USUAL_SIDE, *size, *shape[:2])
    return MixedSizesError(
        f"{file} is {size[0]}x{size[1]} pixels but {first} is {shape[1]}x{shape[0]} (width x height); bring all to "
        f"one size, for example with --image-size {side} (the shorter side scaled to {side}, the center kept)"
    )


def _unreadable(file: Path, error: Exception) -> BadFileError:
    reason = error_message(error) or type(error).__name__
    return BadFileError(file, f"cannot be read as an image ({reason})", "it may be truncated: remove or replace it")


def _too_large(file: Path) -> BadFileError:
    return BadFileError(file, f"has more than {MAX_PIXELS:,} pixels", "scale it down")
