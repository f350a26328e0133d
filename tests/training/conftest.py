"""Small labeled data, and a trainer for it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deepal_autoal import LabeledData, Recipe, Trainer, UnlabeledData
from deepal_autoal.models import build_model
from deepal_autoal.training.inputs import Inputs, Normalization

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    """Threads slow down networks this small, especially if other tests run at the same time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(images, labels, model="cnn", n_classes=3, device=CPU, **recipe):
    """Return a trainer with everything it needs: inputs, data(rows), trainer, fit(rows, **arguments)."""
    inputs = Inputs(images, Normalization.fit(images), device)
    settings = Recipe(**{"epochs": 2, "min_steps": 0, "train_batch_size": 8, **recipe})
    trainer = Trainer(lambda: build_model(model, inputs.input_shape, n_classes), settings, device)

    def data(rows):
        rows = np.asarray(rows, dtype=np.int64)
        return LabeledData(inputs, rows, labels[rows])

    def fit(rows, seed=0, **arguments):
        rest = np.setdiff1d(np.arange(len(labels)), rows)
        return trainer.fit(data(rows), UnlabeledData(inputs, rest), seed=seed, **arguments)

    return SimpleNamespace(images=images, labels=labels, inputs=inputs, trainer=trainer, data=data, fit=fit)


@pytest.fixture
def make_setup():
    return make


@pytest.fixture(scope="session")
def stripes():
    """Sixty 8x8 gray images whose brightest third is their class, and the labels."""
    rng = np.random.default_rng(4)
    images = rng.integers(0, 120, size=(60, 8, 8, 1), dtype=np.uint8)
    labels = (np.arange(60) % 3).astype(np.int64)
    for image, label in zip(images, labels, strict=True):
        image[3 * label : 3 * label + 2] += 100
    return images, labels


@pytest.fixture
def setup(stripes):
    return make(*stripes)


def same_weights(first, second):
    a, b = first.module.state_dict(), second.module.state_dict()
    return all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture
def equal():
    return same_weights
