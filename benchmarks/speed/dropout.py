"""Measures ten dropout passes through the head on cached embeddings against one, and against ten full passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
import torch
from cases import Case, Row
from rules import rounded, row_of, say

from deepal_autoal.measuring.resources import Stopwatch
from deepal_autoal.models import build_model
from deepal_autoal.numerics.random_streams import torch_stream
from deepal_autoal.querying.outputs import ModelOutputs
from deepal_autoal.training.fitted_model import FittedModel
from deepal_autoal.training.inputs import Inputs, Normalization
from deepal_autoal.training.recipe import Recipe
from deepal_autoal.training.trainer import LabeledData, Trainer, UnlabeledData

PART = "dropout"
ONE, TEN, FULL = "one pass", "ten head passes", "ten full passes"
# Images in the pool, and their shape.
POOLS = {"cnn": (5_000, (28, 28, 1)), "resnet18": (768, (32, 32, 3))}
N_CLASSES = 10


def run(models: list[str], repeats: int, threads: int) -> Iterator[list[Row]]:
    """Yield each model's rows."""
    torch.set_num_threads(threads)
    for name in models:
        yield measure(name, repeats)


def measure(name: str, repeats: int) -> list[Row]:
    """Time the three kinds of passes in turn."""
    n, shape = POOLS[name]
    rng = np.random.default_rng(0)
    pool = rng.integers(0, 256, size=(n, *shape), dtype=np.uint8)
    device = torch.device("cpu")
    inputs = Inputs(pool, Normalization.fit(pool), device)
    recipe = Recipe(epochs=1, min_steps=1, train_batch_size=32)
    trainer = Trainer(lambda: build_model(name, inputs.input_shape, N_CLASSES), recipe, device)
    labeled = LabeledData(inputs, np.arange(64), rng.integers(0, N_CLASSES, size=64))
    model = trainer.fit(labeled, UnlabeledData(inputs, np.arange(0)), seed=0)
    indices = np.arange(n)

    def passes(count: int) -> Callable[[], object]:
        return lambda: fresh_outputs(model, inputs).mc_probabilities(indices, count)

    ways = {
        TEN: passes(10),
        ONE: passes(1),
        FULL: lambda: model.dropout_logits(inputs, indices, 10, torch_stream(0, device=device)).softmax(dim=-1),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    ways[ONE]()  # the first pass includes planning
    for _ in range(repeats):
        for way, call in ways.items():
            with Stopwatch() as clock:
                call()
            times[way].append(clock.seconds)
    rows = []
    for way, found in times.items():
        ratios = [seconds / own for seconds, own in zip(found, times[ONE], strict=True)]
        row = row_of(
            Case(PART, name, n, 0, N_CLASSES), way, "done", seconds=rounded(median(found)), low=rounded(min(found)),
            high=rounded(max(found)), repeats=repeats, ratio=rounded(median(ratios)), ratio_low=rounded(min(ratios)),
            ratio_high=rounded(max(ratios)), note=model.precision,
        )  # fmt: skip
        say(f"{name} {way}: {row.seconds} s, {row.ratio} of one pass")
        rows.append(row)
    return rows


def fresh_outputs(model: FittedModel, inputs: Inputs) -> ModelOutputs:
    def no_members(number: int) -> FittedModel:
        raise AssertionError

    return ModelOutputs(model, inputs, (0, 0), no_members)
