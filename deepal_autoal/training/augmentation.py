"""Random augmentations of training images, batched and on the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

# The largest shift of a crop as a share of the image's side: 4 pixels of 28 or 32, and 1 of 8.
SHIFT = 1 / 8
# Degrees, either way: the rotation that DeepAL+ uses for TinyImageNet.
LARGEST_ANGLE = 20.0
# For `random_affine`, besides `SHIFT`: the largest rotation in degrees either way, the largest scale factor (or its
# inverse), and the largest shear in pixels per row.
AFFINE_ANGLE, AFFINE_SCALE, AFFINE_SHEAR = 15.0, 1.15, 0.2
# Brightness, contrast and saturation are each multiplied by a factor within this distance of 1.
JITTER = 0.2
# ITU-R 601, which Pillow and torchvision use to convert colors to gray.
_GRAY = (0.299, 0.587, 0.114)


def random_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift every image by its own offset, at most an eighth of its shorter side (or one pixel) either way.

    This is the same as cropping from an image padded with zeros; at 32 pixels a side the padding is the usual 4.

    Args:
        images: (n, C, H, W) before normalization, where zero is black.
        generator: On the images' device.
    """
    n, _, height, width = images.shape
    padding = max(1, math.floor(min(height, width) * SHIFT + 0.5))
    offsets = torch.randint(0, 2 * padding + 1, (2, n), generator=generator, device=images.device)
    return crop_at(images, offsets[0], offsets[1], padding)


def crop_at(images: Tensor, tops: Tensor, lefts: Tensor, padding: int) -> Tensor:
    """Return the windows at the given corners of the padded images, of the images' size.

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


def random_rotate(images: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate every image about its center by its own angle, at most 20 degrees either way; corners become black.

    Args:
        images: uint8 (n, C, H, W).
        generator: On the images' device.
    """
    angles = torch.rand(len(images), generator=generator, device=images.device).mul_(2.0).sub_(1.0)
    return rotate_by(images, angles * math.radians(LARGEST_ANGLE))


def rotate_by(images: Tensor, angles: Tensor) -> Tensor:
    """Return images, uint8 (n, C, H, W), rotated counterclockwise by angles in radians, (n,); bilinear."""
    none = torch.zeros_like(angles)
    return transform_by(images, angles, torch.ones_like(angles), none, torch.stack([none, none]))


def transform_by(images: Tensor, angles: Tensor, scales: Tensor, shears: Tensor, shifts: Tensor) -> Tensor:
    """Return images sheared, rotated about their centers, scaled, and then shifted; bilinear, black outside.

    Args:
        images: uint8 (n, C, H, W).
        angles: Counterclockwise, in radians, (n,).
        scales: Above 1 enlarges, (n,).
        shears: Pixels by which each row moves to the left of the one above it, (n,).
        shifts: To the right and down, as shares of width and height, (2, n).
    """
    _, _, height, width = images.shape
    cos, sin = angles.cos() / scales, angles.sin() / scales
    # Coordinates run from -1 to 1, so their units differ if the sides do. The grid maps each pixel to its source.
    right, down = 2.0 * shifts[0], 2.0 * shifts[1]
    along, across = cos + shears * sin, (shears * cos - sin) * (height / width)
    rows = [
        torch.stack([along, across, -(along * right + across * down)], dim=1),
        torch.stack([sin * (width / height), cos, -(sin * (width / height) * right + cos * down)], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    changed = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return _to_bytes(changed)


def random_affine(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shear, rotate, scale and shift every image a little, by its own amounts; uncovered areas become black.

    The limits either way are 0.2 pixels per row, 15 degrees, a factor of 1.15 and an eighth of each side. Shifts are
    not rounded to whole pixels.

    Args:
        images: uint8 (n, C, H, W).
        generator: On the images' device.
    """
    draws = torch.rand((5, len(images)), generator=generator, device=images.device).mul_(2.0).sub_(1.0)
    angles = draws[0] * math.radians(AFFINE_ANGLE)
    scales = torch.exp(draws[1] * math.log(AFFINE_SCALE))
    return transform_by(images, angles, scales, draws[2] * AFFINE_SHEAR, draws[3:] * SHIFT)


def random_jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change the brightness, contrast and saturation of every image, in this order, by its own factors in [0.8, 1.2].

    Args:
        images: uint8 (n, C, H, W); saturation is changed only if C is 3.
        generator: On the images' device.
    """
    factors = torch.rand((3, len(images)), generator=generator, device=images.device)
    return jitter_by(images, factors.mul_(2.0 * JITTER).add_(1.0 - JITTER))


def jitter_by(images: Tensor, factors: Tensor) -> Tensor:
    """Return images, uint8 (n, C, H, W), with brightness, contrast and saturation multiplied by factors, (3, n)."""
    brightness, contrast, saturation = factors.view(3, -1, 1, 1, 1)
    pixels = (images.float() * brightness).clamp_(0.0, 255.0)
    mean = _gray(pixels).mean(dim=(2, 3), keepdim=True)
    pixels = torch.lerp(mean, pixels, contrast).clamp_(0.0, 255.0)
    if images.shape[1] == len(_GRAY):
        pixels = torch.lerp(_gray(pixels), pixels, saturation)
    return _to_bytes(pixels)


def _gray(pixels: Tensor) -> Tensor:
    """Return brightness, (n, 1, H, W)."""
    if pixels.shape[1] != len(_GRAY):
        return pixels.mean(dim=1, keepdim=True)
    return torch.einsum("nchw,c->nhw", pixels, pixels.new_tensor(_GRAY)).unsqueeze(1)


def _to_bytes(pixels: Tensor) -> Tensor:
    return pixels.round_().clamp_(0.0, 255.0).to(torch.uint8)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "crop": random_crop,
    "flip": random_flip,
    "rotate": random_rotate,
    "affine": random_affine,
    "jitter": random_jitter,
}


def augment(images: Tensor, names: Iterable[str], generator: torch.Generator) -> Tensor:
    """Apply augmentations by name, in order, to a batch of images (n, C, H, W)."""
    for name in names:
        images = AUGMENTATIONS[name](images, generator)
    return images
