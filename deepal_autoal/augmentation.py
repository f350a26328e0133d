"""Random changes of training images, batched and on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

PADDING = 4


def random_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift every image by its own offset, at most 4 pixels (a quarter of a small image's side) either way.

    This is cropping from an image padded with zeros.

    Args:
        images: (n, C, H, W) before normalisation, where zero is black.
        generator: On the images' device.
    """
    n, _, height, width = images.shape
    padding = min(PADDING, max(1, min(height, width) // 4))
    offsets = torch.randint(0, 2 * padding + 1, (2, n), generator=generator, device=images.device)
    return crop_at(images, offsets[0], offsets[1], padding)


def crop_at(images: Tensor, tops: Tensor, lefts: Tensor, padding: int) -> Tensor:
    """Return the windows at the given corners of the padded images, in the images' size.

    Args:
        images: (n, C, H, W).
        tops: int64 (n,) in 0 .. 2·padding.
        lefts: Likewise.
        padding: Zeros added on every side.
    """
    n, _, height, width = images.shape
    padded = F.pad(images, (padding, padding, padding, padding))
    # All windows as a view, without copying: (n, C, 2·padding + 1, 2·padding + 1, H, W).
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(n, device=images.device), :, tops, lefts]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror every image, (n, C, H, W), left to right with probability one half."""
    mirrored = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {"crop": random_crop, "flip": random_flip}


def augment(images: Tensor, names: Iterable[str], generator: torch.Generator) -> Tensor:
    """Apply augmentations by name, in order, to a batch of images (n, C, H, W)."""
    for name in names:
        images = AUGMENTATIONS[name](images, generator)
    return images
