"""The size that images are brought to: how it is written, and how an image is scaled and cropped to it."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SIDE = 8192
USUAL_SIDE = 224
"""The side that most published networks were trained at."""

logger = logging.getLogger(__name__)

_WRITTEN = re.compile(r"\s*(\d{1,9})\s*(?:[xX]\s*(\d{1,9})\s*)?")


def read_image_size(given: Any) -> tuple[int, int] | None:
    """Return height and width in pixels, or None if no size is given.

    Args:
        given: ``N`` for N×N, or height and width: ``"HxW"``, or a pair of numbers.

    Raises:
        InputError: If it has another form, or a side is out of range.
    """
    if given is None:
        return None
    sides: Any = given
    if isinstance(given, str):
        found = _WRITTEN.fullmatch(given)
        sides = [int(side) for side in found.groups() if side is not None] if found else ()
    elif not isinstance(given, Sequence):
        sides = (given,)
    whole = [side for side in sides if isinstance(side, int | np.integer) and not isinstance(side, bool)]
    if len(whole) not in (1, 2) or len(whole) != len(sides) or not all(1 <= side <= MAX_SIDE for side in whole):
        raise InputError(
            f"--image-size {_shown(given)}: give the side in pixels, such as 224, or height x width, such as 192x256; "
            f"from 1 to {MAX_SIDE}"
        )
    return int(whole[0]), int(whole[-1])


def image_size_text(given: Any) -> str | None:
    """Return a size as it is recorded, ``"HxW"``, or None if no size is given; see `read_image_size`."""
    size = read_image_size(given)
    return None if size is None else f"{size[0]}x{size[1]}"


def no_image_files(given: Any, dataset: str) -> InputError:
    """Return the error for a size that is given for data without image files."""
    return InputError(
        f"--image-size {_shown(given)}: {dataset} does not consist of image files: leave it out; it is for folders "
        "of images, CSV manifests, and named datasets of image files such as waterbirds"
    )


def warn_of_no_files_to_skip(dataset: str) -> None:
    """Say that nothing can be skipped in data without image files."""
    logger.warning(
        "--skip-bad has no effect: %s does not consist of image files of your own; it is for folders of images, CSV "
        "manifests, and named datasets of image files such as waterbirds",
        dataset,
    )


def covering_size(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width of an image scaled, sides in proportion, so that it just covers a size."""
    # In whole numbers, as torchvision's Resize does: the other side is rounded down.
    if size[0] * width >= size[1] * height:
        return size[0], max(size[1], size[0] * width // height)
    return max(size[0], size[1] * height // width), size[1]


def fitted(image: Image, size: tuple[int, int]) -> Image:
    """Return an image scaled so that it just covers a size, bilinear and antialiased, and cropped to its center.

    Args:
        image: Of a mode that can be interpolated, such as L or RGB.
        size: Height and width.
    """
    from PIL.Image import Resampling

    height, width = covering_size(image.height, image.width, size)
    top, left = round((height - size[0]) / 2), round((width - size[1]) / 2)
    # Only the part that is kept is computed: a strip scaled as a whole could be huge.
    across, down = image.width / width, image.height / height
    box = (left * across, top * down, (left + size[1]) * across, (top + size[0]) * down)
    box = (box[0], box[1], min(box[2], image.width), min(box[3], image.height))
    return image.resize((size[1], size[0]), Resampling.BILINEAR, box=box)


def _shown(given: Any) -> str:
    text = "x".join(map(str, given)) if isinstance(given, list | tuple) else str(given)
    return text if len(text) <= 40 else f"{text[:40]}..."
