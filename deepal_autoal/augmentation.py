"""Random changes of training images, batched and on the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

# Of an image's side: how far a crop shifts it, 4 pixels of 28 or 32 and 1 of 8.
SHIFT = 1 / 8
# Degrees, either way: what DeepAL+ turns TinyImageNet by.
LARGEST_ANGLE = 20.0
# Of `random_affine`, besides `SHIFT`: degrees either way, the largest factor (or its inverse) that images are scaled
# by, and how far they are slanted, in pixels a row.
AFFINE_ANGLE, AFFINE_SCALE, AFFINE_SHEAR = 15.0, 1.15, 0.2
# Brightness, contrast and saturation are each multiplied by a factor within this distance of 1.
JITTER = 0.2
# ITU-R 601, as Pillow and torchvision turn colours grey.
_GREY = (0.299, 0.587, 0.114)


def random_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift every image by its own offset, at most an eighth of its shorter side (but one pixel) either way.

    This is cropping from an image padded with zeros. At 32 pixels a side the padding is the usual 4.

    Args:
        images: (n, C, H, W) before normalisation, where zero is black.
        generator: On the images' device.
    """
    n, _, height, width = images.shape
    padding = max(1, math.floor(min(height, width) * SHIFT + 0.5))
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


def random_rotate(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn every image about its centre by its own angle, at most 20 degrees either way; corners become black.

    Args:
        images: uint8 (n, C, H, W).
        generator: On the images' device.
    """
    angles = torch.rand(len(images), generator=generator, device=images.device).mul_(2.0).sub_(1.0)
    return rotate_by(images, angles * math.radians(LARGEST_ANGLE))


def rotate_by(images: Tensor, angles: Tensor) -> Tensor:
    """Return images, uint8 (n, C, H, W), turned counter-clockwise by angles in radians, (n,); bilinear."""
    none = torch.zeros_like(angles)
    return transform_by(images, angles, torch.ones_like(angles), none, torch.stack([none, none]))


def transform_by(images: Tensor, angles: Tensor, scales: Tensor, shears: Tensor, shifts: Tensor) -> Tensor:
    """Return images that were slanted, turned about their centres, scaled, and then shifted; bilinear, black outside.

    Args:
        images: uint8 (n, C, H, W).
        angles: Counter-clockwise, in radians, (n,).
        scales: Above 1 enlarges, (n,).
        shears: How far each row moves to the left of the one above it, in pixels, (n,).
        shifts: To the right and down, in shares of width and height, (2, n).
    """
    _, _, height, width = images.shape
    cos, sin = angles.cos() / scales, angles.sin() / scales
    # In coordinates from -1 to 1, whose units differ where sides do. The grid says where each pixel comes from.
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
    """Slant, turn, scale and shift every image a little, by amounts of its own; what comes from outside is black.

    At most 0.2 pixels a row, 15 degrees, a factor of 1.15 and an eighth of each side, either way. Offsets are not
    whole pixels.

    Args:
        images: uint8 (n, C, H, W).
        generator: On the images' device.
    """
    draws = torch.rand((5, len(images)), generator=generator, device=images.device).mul_(2.0).sub_(1.0)
    angles = draws[0] * math.radians(AFFINE_ANGLE)
    scales = torch.exp(draws[1] * math.log(AFFINE_SCALE))
    return transform_by(images, angles, scales, draws[2] * AFFINE_SHEAR, draws[3:] * SHIFT)


def random_jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and saturation of every image, in this order, by factors of its own in [0.8, 1.2].

    Args:
        images: uint8 (n, C, H, W); saturation is changed where C is 3.
        generator: On the images' device.
    """
    factors = torch.rand((3, len(images)), generator=generator, device=images.device)
    return jitter_by(images, factors.mul_(2.0 * JITTER).add_(1.0 - JITTER))


def jitter_by(images: Tensor, factors: Tensor) -> Tensor:
    """Return images, uint8 (n, C, H, W), with brightness, contrast and saturation multiplied by factors, (3, n)."""
    brightness, contrast, saturation = factors.view(3, -1, 1, 1, 1)
    pixels = (images.float() * brightness).clamp_(0.0, 255.0)
    mean = _grey(pixels).mean(dim=(2, 3), keepdim=True)
    pixels = torch.lerp(mean, pixels, contrast).clamp_(0.0, 255.0)
    if images.shape[1] == len(_GREY):
        pixels = torch.lerp(_grey(pixels), pixels, saturation)
    return _to_bytes(pixels)


def _grey(pixels: Tensor) -> Tensor:
    """Return brightness, (n, 1, H, W)."""
    if pixels.shape[1] != len(_GREY):
        return pixels.mean(dim=1, keepdim=True)
    return torch.einsum("nchw,c->nhw", pixels, pixels.new_tensor(_GREY)).unsqueeze(1)


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
