"""Channels come last, at every way into the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepal_autoal import ActiveLearner, Dataset, InputError, load_dataset
from deepal_autoal.training.samples import as_samples

QUICK: dict[str, Any] = {"recipe": {"epochs": 1, "min_steps": 1}, "device": "cpu", "model": "linear"}
LABELS = np.arange(10) % 2


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (10, *shape), dtype=np.uint8)


def shape_by_file(array: Any, folder: Path) -> tuple[int, ...]:
    np.savez(folder / "own.npz", x=array, y=LABELS)
    return load_dataset(folder / "own.npz").input_shape


def shape_by_dataset(array: Any, folder: Path) -> tuple[int, ...]:
    return Dataset("toy", np.asarray(array), LABELS, np.asarray(array), LABELS, ("a", "b")).input_shape


def shape_by_learner(array: Any, folder: Path) -> tuple[int, ...]:
    learner = ActiveLearner(array, "random", 2, **QUICK)
    learner.tell([0, 1], [0, 1])
    return learner.predictor().input_shape


@pytest.mark.parametrize("shape_by", [shape_by_file, shape_by_dataset, shape_by_learner])
@pytest.mark.parametrize(
    "shape", [(1, 28, 28), (2, 28, 28), (3, 32, 32), (4, 9, 9), (13, 16, 16), (3, 12, 20), (2, 20, 12), (40, 9, 9)]
)
def test_channels_first_are_refused(shape: tuple[int, ...], shape_by: Any, tmp_path: Path) -> None:
    message = r"channels first.*(pool|x|x_train)\.transpose\(0, 2, 3, 1\)"
    with pytest.raises(InputError, match=message) as caught:
        shape_by(images(*shape), tmp_path)
    assert "\n" not in str(caught.value)
    turned = images(*shape).transpose(0, 2, 3, 1)
    assert shape_by(turned, tmp_path) == shape


@pytest.mark.parametrize(
    "shape", [(28, 28, 1), (32, 32, 2), (9, 9, 200), (16, 16, 13), (8, 8, 8), (6, 7, 5), (3, 100, 3), (4, 5, 4)]
)
def test_channels_last_are_taken(shape: tuple[int, ...]) -> None:
    assert as_samples(images(*shape), "pool").shape == (10, *shape)


@pytest.mark.parametrize("shape_by", [shape_by_file, shape_by_dataset, shape_by_learner])
@pytest.mark.parametrize("shape", [(24, 32, 64), (24, 64, 64), (80, 64, 64), (6, 50, 7)])
def test_bands_that_look_like_a_side_are_taken_as_the_message_says(
    shape: tuple[int, ...], shape_by: Any, tmp_path: Path
) -> None:
    height, width, channels = shape
    message = rf"if it has {channels} channels .* swap height and width: (pool|x|x_train)\.transpose\(0, 2, 1, 3\)"
    with pytest.raises(InputError, match=message):
        shape_by(images(*shape), tmp_path)
    assert shape_by(images(*shape).transpose(0, 2, 1, 3), tmp_path) == (channels, width, height)


def test_tensors_and_samples_to_predict_are_checked_too() -> None:
    with pytest.raises(InputError, match=r"pool is uint8 .* channels first"):
        ActiveLearner(torch.from_numpy(images(3, 8, 8)), "random", 2, **QUICK)
    learner = ActiveLearner(images(8, 8, 3), "random", 2, **QUICK)
    learner.tell([0, 1], [0, 1])
    with pytest.raises(InputError, match=r"samples is uint8 .* channels first"):
        learner.predict(images(3, 8, 8))
