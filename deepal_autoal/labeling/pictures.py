"""Samples as pictures that a browser can show."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image


def picture_of_file(path: str, side: int) -> Image:
    """Return an image file upright, in gray or RGB; large ones may be read at a lower resolution.

    Args:
        path: The file. Decoders raise anything if it is damaged.
        side: What the longer side will be brought to, in pixels.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        image.draft("RGB", (2 * side, 2 * side))
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("I", "I;16", "I;16B", "I;16L", "I;16N"):
            values = np.asarray(upright).astype(np.float32)
            low, high = float(values.min()), float(values.max())
            return Image.fromarray(((values - low) * (255 / max(high - low, 1.0))).astype(np.uint8))
        return upright if upright.mode in ("L", "RGB") else upright.convert("RGB")


def picture_of_array(sample: np.ndarray) -> Image:
    """Return an image, uint8 (H, W, C), in gray or RGB; of other numbers of channels the first."""
    from PIL import Image

    if sample.shape[2] != 3:
        return Image.fromarray(np.ascontiguousarray(sample[..., 0]))
    return Image.fromarray(np.ascontiguousarray(sample))


def encoded(image: Image, side: int, *, enlarge: bool = False) -> tuple[bytes, str]:
    """Return an image as a file, and its media type: small ones as PNG, others as JPEG.

    Args:
        image: In gray or RGB.
        side: The longer side of larger images, in pixels.
        enlarge: Whether smaller images are brought to it too, pixel by pixel.
    """
    from PIL.Image import Resampling

    is_small = max(image.size) < side
    if enlarge or not is_small:
        scale = side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Resampling.NEAREST if is_small else Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "PNG" if is_small else "JPEG", **({} if is_small else {"quality": 85}))
    return content.getvalue(), "image/png" if is_small else "image/jpeg"
