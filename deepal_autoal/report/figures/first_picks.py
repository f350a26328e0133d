"""Draws the first images that each strategy picked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deepal_autoal.errors import InputError
from deepal_autoal.report.figures import canvas
from deepal_autoal.report.style import Style, figure_id

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Pixels between images, and the most pixels on an image's longer side: the page should stay small.
GAP = 2
MAX_SIDE = 40
IMAGE_HEIGHT = 26.0


@canvas.drawing()
def first_picks(
    thumbnails: Mapping[str, npt.NDArray[np.uint8]],
    dataset: str,
    styles: Mapping[str, Style],
    *,
    seed: int | None = None,
    id_prefix: str | None = None,
) -> Figure:
    """Draw a row of images for each strategy.

    Args:
        thumbnails: The first picks in order by strategy label, uint8 (k, H, W), (k, H, W, 1) or (k, H, W, 3); rows are
            drawn in this order. k may differ, H and W may not.
        dataset: The dataset's label.
        styles: Styles of the strategies.
        seed: The seed of the runs, if there is a single one.
        id_prefix: The figure's id; derived from the dataset by default.

    Raises:
        InputError: If there are no images, or they are not such arrays.
    """
    strips = {label: _strip(_as_rgb(images, label)) for label, images in thumbnails.items()}
    if len({strip.shape[0] for strip in strips.values()}) != 1:
        raise InputError(f"first picks on {dataset} need images of the same height for at least one strategy")
    short = {label: canvas.shorten(label, canvas.LABEL_WIDTH, bold=styles[label].is_highlighted) for label in strips}
    left = canvas.MARGIN + 8 + max(
        canvas.text_width(name, canvas.FONT_SIZE, styles[label].is_highlighted) for label, name in short.items()
    )  # fmt: skip
    widest = max(strip.shape[1] for strip in strips.values())
    pixels_high = next(iter(strips.values())).shape[0]
    scale = min(IMAGE_HEIGHT / pixels_high, (canvas.WIDTH - left - canvas.MARGIN) / widest)
    row = pixels_high * scale + 4
    note = "The first images of the first batch after the initial set, left to right"
    note += f", seed {seed}." if seed is not None else "."
    note += " The initial set is the same for all."
    height = row * len(strips) + canvas.MARGIN
    figure = canvas.new_figure(
        height, id_prefix or figure_id("first-picks", dataset),
        f"{dataset}: what each strategy picked first", note,
    )  # fmt: skip
    axes = canvas.add_axes(figure, 0, 0, canvas.WIDTH, height)
    for number, (label, strip) in enumerate(strips.items()):
        top = height - row * number
        image = axes.imshow(
            strip, extent=(left, left + strip.shape[1] * scale, top - pixels_high * scale, top), interpolation="none",
            aspect="auto",
        )  # fmt: skip
        canvas.mark(image, label, "images", styles, label)
        text = axes.text(
            left - 8, top - pixels_high * scale / 2, short[label], ha="right", va="center_baseline",
            fontweight="bold" if styles[label].is_highlighted else "normal",
        )  # fmt: skip
        canvas.mark(text, label, "label", styles, label)
    axes.set_xlim(0, canvas.WIDTH)
    axes.set_ylim(0, height)
    axes.axis("off")
    return figure


def _as_rgb(images: npt.NDArray[np.uint8], label: str) -> npt.NDArray[np.uint8]:
    """Return (k, H, W, 3), shrunk to `MAX_SIDE` if larger."""
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise InputError(f"first picks of {label} must be uint8 (k, H, W[, 1 or 3]), not {images.dtype} {images.shape}")
    images = np.broadcast_to(images, (*images.shape[:3], 3))
    longest = max(images.shape[1:3])
    if longest <= MAX_SIDE:
        return images
    from PIL import Image

    height, width = (max(1, round(side * MAX_SIDE / longest)) for side in images.shape[1:3])
    small = [Image.fromarray(np.ascontiguousarray(image)).resize((width, height)) for image in images]
    return np.stack([np.asarray(image) for image in small])


def _strip(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return images side by side on white: (H, width, 3)."""
    count, height, width, _ = images.shape
    strip = np.full((height, count * (width + GAP) - GAP, 3), 255, dtype=np.uint8)
    for number, image in enumerate(images):
        strip[:, number * (width + GAP) : number * (width + GAP) + width] = image
    return strip
