"""Batched augmentation compared with one image at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from deepal_autoal.training.augmentation import (
    AUGMENTATIONS,
    augment,
    crop_at,
    jitter_by,
    random_affine,
    random_crop,
    random_flip,
    random_jitter,
    random_rotate,
    rotate_by,
    transform_by,
)
from deepal_autoal.training.recipe import AUGMENTATIONS as KNOWN_TO_RECIPES


def pictures(n=40, channels=3, height=9, width=12, dtype=torch.uint8):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, 256, (n, channels, height, width), generator=generator).to(dtype)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels_last", [False, True])
def test_crops_are_windows_of_the_padded_images(dtype, channels_last):
    images = pictures(dtype=dtype)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(2)
    tops, lefts = torch.randint(0, 9, (2, len(images)), generator=generator)
    cropped = crop_at(images, tops, lefts, 4)
    assert cropped.shape == images.shape and cropped.dtype == dtype
    for image, top, left, result in zip(images.numpy(), tops.tolist(), lefts.tolist(), cropped.numpy(), strict=True):
        padded = np.pad(image, ((0, 0), (4, 4), (4, 4)))
        assert np.array_equal(result, padded[:, top : top + 9, left : left + 12])


@pytest.mark.parametrize(("side", "padding"), [(64, 8), (32, 4), (28, 4), (16, 2), (12, 2), (8, 1), (3, 1)])
def test_crop_offsets_differ_between_images(side, padding):
    images = torch.zeros((400, 1, side, side), dtype=torch.uint8)
    images[:, :, side // 2, side // 2] = 1
    cropped = random_crop(images, torch.Generator().manual_seed(0))
    where = cropped.nonzero()
    assert len(where) == 400
    for axis in (2, 3):
        shifts = (where[:, axis] - side // 2).unique().tolist()
        assert shifts == list(range(-padding, padding + 1))


def test_flips_half_of_the_images():
    images = pictures(n=400)
    flipped = random_flip(images, torch.Generator().manual_seed(0))
    mirrored = [
        bool((result == image[:, :, ::-1]).all()) for image, result in zip(images.numpy(), flipped.numpy(), strict=True)
    ]
    kept = (flipped == images).flatten(1).all(dim=1).tolist()
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 150 < sum(mirrored) < 250


@pytest.mark.parametrize(("height", "width"), [(9, 12), (32, 32), (12, 9)])
def test_rotation_matches_torchvisions(height, width):
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    images = pictures(6, height=height, width=width)
    angles = torch.tensor([-20.0, -7.5, 0.0, 3.0, 20.0, 90.0])
    turned = rotate_by(images, angles * math.pi / 180)
    for image, angle, result in zip(images, angles.tolist(), turned, strict=True):
        expected = functional.rotate(image, angle, functional.InterpolationMode.BILINEAR)
        assert (result.int() - expected.int()).abs().max() <= 1
    assert torch.equal(turned[2], images[2])


def test_angles_differ_between_images_and_are_within_twenty_degrees():
    """A bright pixel to the right of the center moves up or down by the sine of its angle."""
    images = torch.zeros(400, 1, 41, 41, dtype=torch.uint8)
    images[:, :, 20, 38] = 255
    turned = random_rotate(images, torch.Generator().manual_seed(0)).float()
    mass = turned.sum(dim=(1, 2, 3))
    rows = (turned.sum(dim=(1, 3)) * torch.arange(41.0)).sum(dim=1) / mass - 20
    angles = torch.asin((rows / 18).clamp(-1, 1)) * 180 / math.pi
    assert angles.abs().max() < 21.5 and angles.min() < -18 and angles.max() > 18
    assert angles.mean().abs() < 2 and 10 < angles.std() < 13  # 11.5 for a uniform distribution


@pytest.mark.parametrize(("height", "width"), [(9, 12), (32, 32), (12, 9)])
def test_affine_changes_match_torchvisions(height, width):
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    images = pictures(6, height=height, width=width)
    angles = torch.tensor([-10.0, 7.5, 0.0, 0.0, 15.0, 0.0])
    scales = torch.tensor([0.9, 1.1, 1.0, 1.05, 1.0, 1.0])
    shears = torch.tensor([0.1, -0.2, 0.0, 0.0, 0.2, 0.15])
    pixels = torch.tensor([[1.0, -2.0, 0.0, 1.0, 2.0, 0.0], [-1.0, 1.0, 0.0, 2.0, 0.0, 0.0]])
    shifts = pixels / torch.tensor([[width], [height]])
    changed = transform_by(images, angles * math.pi / 180, scales, shears, shifts)
    for number, (image, result) in enumerate(zip(images, changed, strict=True)):
        expected = functional.affine(
            image, -float(angles[number]), pixels[:, number].tolist(), float(scales[number]),
            [math.degrees(math.atan(float(shears[number]))), 0.0], functional.InterpolationMode.BILINEAR,
        )  # fmt: skip
        assert (result.int() - expected.int()).abs().max() <= 1
    assert torch.equal(changed[2], images[2])


def test_affine_changes_differ_between_images_and_are_small():
    """Two bright spots left and right of the center, and two above and below it, show all five amounts."""
    grid = torch.arange(81.0) - 40
    draws = []
    for turned in (False, True):
        images = torch.zeros(600, 1, 81, 81, dtype=torch.uint8)
        images[:, :, 39:42, 19:22] = images[:, :, 39:42, 59:62] = 255
        images = images.mT if turned else images
        changed = random_affine(images.contiguous(), torch.Generator().manual_seed(0)).float()[:, 0]

        def middle(part):
            mass = part.sum(dim=(1, 2))
            return torch.stack([(part.sum(dim=axis) * grid).sum(dim=1) / mass for axis in (1, 2)])  # right, down

        center = middle(changed)
        position = grid[None, :, None] if turned else grid[None, None, :]
        is_second = position > center[1 if turned else 0][:, None, None]
        draws.append((center, middle(changed * is_second) - middle(changed * ~is_second)))
    (center, across), (_, along) = draws
    for shift in center:
        assert 9.5 < shift.max() < 10.3 and -10.3 < shift.min() < -9.5 and 5 < shift.std() < 6.5
    angles, scales = torch.atan2(-across[1], across[0]) * 180 / math.pi, across.norm(dim=0) / 40
    assert 14.5 < angles.max() < 15.5 and -15.5 < angles.min() < -14.5 and 7.8 < angles.std() < 9.5
    assert 1.13 < scales.max() < 1.17 and 0.86 < scales.min() < 0.89 and scales.log().mean().abs() < 0.01
    shears = -(across * along).sum(dim=0) / across.square().sum(dim=0)
    assert 0.19 < shears.max() < 0.21 and -0.21 < shears.min() < -0.19 and 0.1 < shears.std() < 0.13
    amounts = torch.stack([*center, angles, scales, shears])
    assert (torch.corrcoef(amounts) - torch.eye(5)).abs().max() < 0.15


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_matches_torchvisions(channels):
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    images = pictures(5, channels=channels)
    factors = torch.tensor([[0.8, 1.2, 1.0, 0.9, 1.1], [1.2, 0.8, 1.0, 1.1, 1.0], [0.8, 1.0, 1.0, 1.2, 0.9]])
    changed = jitter_by(images, factors)
    for number, image in enumerate(images):
        pixels = image.float() / 255
        expected = functional.adjust_contrast(
            functional.adjust_brightness(pixels, float(factors[0, number])), float(factors[1, number])
        )
        if channels == 3:
            expected = functional.adjust_saturation(expected, float(factors[2, number]))
        # torchvision's color weights have four digits.
        assert (changed[number].float() - expected * 255).abs().max() < 1.0
    assert torch.equal(changed[2], images[2])


def test_jitter_factors_differ_between_images_and_are_within_a_fifth():
    images = torch.full((400, 1, 4, 4), 100, dtype=torch.uint8)
    means = random_jitter(images, torch.Generator().manual_seed(0)).float().mean(dim=(1, 2, 3))
    assert means.min() >= 80 and means.max() <= 120 and means.min() < 82 and means.max() > 118
    assert (means.unique().numel()) > 30


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_same_generator_same_images_and_global_state_untouched(name):
    images = pictures()
    state = torch.get_rng_state()
    first, second, other = (augment(images, (name,), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, pictures())


def test_augmentations_are_applied_in_order():
    images = pictures()
    generator = torch.Generator().manual_seed(5)
    expected = random_flip(random_crop(images, generator), generator)
    assert torch.equal(augment(images, ("crop", "flip"), torch.Generator().manual_seed(5)), expected)
    assert augment(images, (), generator) is images


def test_recipes_know_the_same_augmentations():
    assert set(AUGMENTATIONS) == set(KNOWN_TO_RECIPES)
