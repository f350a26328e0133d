"""Training settings, the number of steps, and schedules."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
import torch
from torch import nn

from deepal_autoal import InputError, Recipe
from deepal_autoal.numerics.precision import autocast, cpu_has_bfloat16, exact_gradients, place, resolve_precision
from deepal_autoal.training import optimizers
from deepal_autoal.training.optimizers import make_optimizer, set_learning_rate
from deepal_autoal.training.recipe import IMAGE_DEFAULTS, OPTIMIZERS, OWN_AUGMENTATION, SCHEDULES, VECTOR_DEFAULTS

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0), ("min_steps", -1), ("train_batch_size", 1), ("optimizer", "lion"), ("learning_rate", 0.0),
        ("learning_rate", math.nan), ("learning_rate", math.inf), ("weight_decay", -1.0), ("momentum", 1.0),
        ("averaging", 1.0), ("averaging", -0.1), ("schedule", "step"), ("augmentation", ("mixup",)),
        ("precision", "float16"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(setting, value):
    with pytest.raises(InputError, match=setting):
        Recipe(**{setting: value})


def test_recipes_survive_json():
    recipe = Recipe(augmentation=("crop", "flip"), optimizer="sgd")
    assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe


def test_defaults_by_data():
    assert Recipe.for_data((3, 32, 32), ["flip"]).augmentation == ("flip",)
    given = Recipe.for_data((3, 32, 32), ["flip"], augmentation=(), epochs=3, min_steps=600)
    assert given == Recipe(epochs=3, **IMAGE_DEFAULTS)
    assert Recipe.for_data((3, 32, 32)).augmentation == OWN_AUGMENTATION == ("crop",)
    assert (
        Recipe.for_data((3, 32, 32), **{name: getattr(Recipe(), name) for name in IMAGE_DEFAULTS}, augmentation=())
        == Recipe()
    )
    for given in (True, "abc"):
        with pytest.raises(InputError, match="the shape of one input, such as"):
            Recipe.for_data(given)
    assert Recipe.for_data((1, 8, 8)).min_steps < Recipe.for_data((1, 8, 16)).min_steps == IMAGE_DEFAULTS["min_steps"]
    vectors = Recipe.for_data((5,), ("flip",))
    assert vectors == Recipe(**VECTOR_DEFAULTS) and vectors.schedule == "cosine"
    assert Recipe.for_data((5,), min_steps=1).min_steps == 1
    with pytest.raises(InputError, match=r"epoch'.*epochs"):
        Recipe.for_data((3, 32, 32), epoch=3)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(256, 256, 16), (128, 512, 16), (257, 256, 15), (512, 512, 4), (600, 800, 2), (3000, 4000, 2)],
)
def test_batches_of_large_images_are_bounded(height, width, size):
    assert Recipe.for_data((3, height, width)).train_batch_size == size
    assert Recipe.for_data((3, height, width), train_batch_size=32).train_batch_size == 32


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (5,)])
def test_epochs_alone_are_obeyed(shape):
    for epochs in (1, 20):
        recipe = Recipe.for_data(shape, epochs=epochs)
        assert (recipe.epochs, recipe.min_steps) == (epochs, 0)
        assert [recipe.n_epochs(n) for n in (1, 10, 1000)] == [epochs] * 3
    both = Recipe.for_data(shape, epochs=2, min_steps=30)
    assert (both.min_steps, both.n_epochs(2)) == (30, 30)
    assert Recipe.for_data(shape).min_steps > 0


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        (Recipe(epochs=5, min_steps=0), "5 epochs"),
        (Recipe(epochs=1, min_steps=0), "1 epoch"),
        (Recipe(epochs=20, min_steps=600, train_batch_size=16),
         "20 epochs, but at least 600 steps: 150 epochs with 50 labels, 38 with 250"),
        (Recipe(epochs=1, min_steps=3), "1 epoch, but at least 3 steps: 3 epochs with 50 labels, 1 with 250"),
        (Recipe(epochs=20, min_steps=20), "20 epochs"),
    ],
)  # fmt: skip
def test_the_length_of_training_in_words(recipe, text):
    assert recipe.describe_length(50, 250) == text
    if recipe.min_steps == 600:
        assert recipe.describe_length(1, 1).endswith("600 epochs with 1 label")


def test_plain_settings_do_not_change():
    """Recorded recipes that lack a field, and papers' recipes, build on them."""
    recipe = Recipe()
    assert (recipe.epochs, recipe.min_steps, recipe.train_batch_size, recipe.learning_rate) == (20, 100, 64, 1e-3)
    assert (recipe.optimizer, recipe.schedule, recipe.weight_decay, recipe.averaging) == ("adam", "constant", 0.0, 0.0)
    assert (recipe.augmentation, recipe.stop_at_full_accuracy, recipe.warm_start) == ((), False, False)


@pytest.mark.parametrize(
    ("n", "epochs", "min_steps", "steps"),
    [(1, 3, 0, 3), (50, 3, 0, 3), (50, 3, 10, 10), (65, 3, 0, 6), (65, 3, 7, 8), (640, 3, 25, 30), (640, 3, 35, 40)],
)
def test_number_of_steps(n, epochs, min_steps, steps):
    recipe = Recipe(epochs=epochs, min_steps=min_steps, train_batch_size=64)
    assert recipe.n_batches(n) == math.ceil(n / 64)
    assert recipe.n_batches(n) * recipe.n_epochs(n) == steps


def test_no_batch_has_one_sample():
    for size in (2, 3, 4, 7):
        recipe = Recipe(train_batch_size=size)
        for n in range(2, 60):
            sizes = [len(part) for part in torch.arange(n).tensor_split(recipe.n_batches(n))]
            assert sum(sizes) == n and min(sizes) >= 2 and max(sizes) <= max(size, 3)


def test_names_in_recipes_are_those_implemented():
    assert set(OPTIMIZERS) == set(optimizers._OPTIMIZERS) and set(SCHEDULES) == set(optimizers._SCHEDULES)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_get_the_settings(name):
    recipe = Recipe(optimizer=name, learning_rate=0.02, weight_decay=0.3, momentum=0.7)
    optimizer = make_optimizer([nn.Parameter(torch.ones(1))], recipe, CPU)
    assert type(optimizer).__name__.lower() == name
    assert optimizer.defaults["lr"] == 0.02 and optimizer.defaults["weight_decay"] == 0.3
    assert optimizer.defaults.get("momentum", 0.7) == 0.7


def test_schedules():
    values = {name: [schedule(step / 1000) for step in range(1000)] for name, schedule in optimizers._SCHEDULES.items()}
    assert set(values["constant"]) == {1.0}
    assert values["cosine"][0] == 1.0 and values["cosine"][500] == pytest.approx(0.5) and values["cosine"][-1] < 0.01
    cycle = values["onecycle"]
    assert cycle[0] == pytest.approx(0.04) and max(cycle) == cycle[300] == pytest.approx(1.0) and cycle[-1] < 0.01
    assert cycle[:301] == sorted(cycle[:301]) and cycle[300:] == sorted(cycle[300:], reverse=True)
    optimizer = make_optimizer([nn.Parameter(torch.ones(1))], Recipe(), CPU)
    set_learning_rate(optimizer, Recipe(schedule="cosine", learning_rate=0.2), 0.5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


@pytest.mark.parametrize("has_it", [False, True])
def test_precision_on_the_cpu(monkeypatch, has_it):
    monkeypatch.setattr("deepal_autoal.numerics.precision.cpu_has_bfloat16", lambda: has_it)
    assert resolve_precision("float32", CPU, (3, 32, 32)) == "float32"
    assert resolve_precision("bfloat16", CPU) == "bfloat16"
    # Only images that are large enough to gain.
    expected = {(3, 32, 32): has_it, (1, 16, 16): has_it, (1, 8, 8): False, (3, 15, 40): False, (64,): False}
    for shape, is_half in expected.items():
        assert resolve_precision("auto", CPU, shape) == ("bfloat16" if is_half else "float32"), shape


def test_bfloat16_support_of_the_cpu_is_detected(monkeypatch):
    assert isinstance(cpu_has_bfloat16(), bool)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert cpu_has_bfloat16() is False


@pytest.mark.parametrize("groups", [1, 64])
@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 2, 1), (5, 4, 3), (7, 4, 2), (3, 2, 4)])
def test_gradients_of_strided_convolutions_contain_no_uninitialized_memory(groups, kernel, stride, side):
    conv = nn.Conv2d(64, 64, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    conv = place(nn.Sequential(conv), CPU)[0]
    inputs = torch.randn(4, 64, side, side).to(memory_format=torch.channels_last)
    exact = nn.functional.conv2d(inputs, conv.weight, stride=stride, padding=kernel // 2, groups=groups)
    (wanted,) = torch.autograd.grad(exact.square().sum(), conv.weight)
    with exact_gradients(nn.Sequential(conv), "bfloat16", CPU), autocast("bfloat16", CPU):
        found = conv(inputs)
    # Values that a kernel leaves unwritten show the NaN that was there before.
    memory = [torch.full((2**power,), math.nan) for power in range(6, 18) for _ in range(30)]
    del memory
    (gradient,) = torch.autograd.grad(found.float().square().sum(), conv.weight)
    assert gradient == pytest.approx(wanted, rel=0.05, abs=0.02 * float(wanted.abs().max()))
    assert "forward" not in vars(conv)
