"""The built-in models, and how models are looked up by name."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deepal_autoal import InputError, PluginError, TaskModel, UnknownNameError, hookimpl, plugin_host
from deepal_autoal.models import build_model, choose_model, resolve_model
from deepal_autoal.training.task_model import dropout_parts

IMAGE_MODELS = ("cnn", "lenet", "resnet18")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["linear", "mlp", *IMAGE_MODELS])
def test_images_of_any_number_of_channels(name, channels):
    model = build_model(name, (channels, 8, 8), 5)
    inputs = torch.randn(3, channels, 8, 8)
    assert model.features(inputs).shape == (3, model.embedding_dim)
    logits = model(inputs)
    assert logits.shape == (3, 5)
    F.cross_entropy(logits, torch.tensor([0, 4, 1])).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("side", [(1, 1), (2, 3), (8, 8), (13, 5), (28, 28), (32, 32), (64, 64), (8, 32)])
def test_cnn_takes_any_size(side):
    model = build_model("cnn", (1, *side), 10)
    assert model.features(torch.randn(2, 1, *side)).shape == (2, 128)
    assert sum(parameter.numel() for parameter in model.parameters()) < 250_000


@pytest.mark.parametrize(
    ("side", "map_sides"),
    [
        ((8, 8), [(4, 4), (2, 2)]), ((8, 64), [(4, 32), (2, 16)]), ((19, 9), [(9, 4), (4, 2)]),
        ((28, 28), [(14, 14), (5, 5)]), ((32, 32), [(16, 16), (6, 6)]), ((97, 64), [(48, 32), (22, 14)]),
    ],
)  # fmt: skip
def test_lenet_takes_any_size_from_8_pixels(side, map_sides):
    model = build_model("lenet", (1, *side), 10)
    maps, sides = torch.randn(2, 1, *side), []
    for stage in model.backbone.stages:
        maps = stage(maps)
        sides.append(tuple(maps.shape[2:]))
    assert sides == map_sides and maps.shape[1] == 16
    assert model.features(torch.randn(2, 1, *side)).shape == (2, 84)
    assert sum(parameter.numel() for parameter in model.parameters()) < 150_000


def test_lenet_is_lenet_5_on_mnist_images():
    model = build_model("lenet[dropout=0.1]", (1, 28, 28), 10)
    shapes = [tuple(parameter.shape) for parameter in model.parameters() if parameter.ndim > 1]
    assert shapes == [(6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)] and model.dropout.p == 0.1
    # He's initial weights: the variance is two divided by the inputs of a unit.
    assert float(model.backbone.embed[1].weight.detach().var()) == pytest.approx(2 / 400, rel=0.05)
    assert all(not parameter.any() for parameter in model.backbone.parameters() if parameter.ndim == 1)


@pytest.mark.parametrize("side", [(7, 28), (28, 7)])
def test_lenet_refuses_smaller_images(side):
    with pytest.raises(InputError, match=r"lenet.*at least 8 pixels a side.*--model cnn"):
        build_model("lenet", (3, *side), 4)


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_vector_models(name):
    model = build_model(name, (7,), 3).eval()
    inputs = torch.randn(4, 7)
    assert model(inputs).shape == (4, 3)
    if name == "linear":
        assert torch.equal(model.features(inputs), inputs)


@pytest.mark.parametrize("name", ["linear", "mlp", *IMAGE_MODELS])
def test_logits_are_the_heads_output_on_dropped_out_embeddings(name):
    model = build_model("linear[passes=dropout]" if name == "linear" else name, (3, 8, 8), 4).eval()
    torch.nn.init.normal_(model.head.weight)
    inputs = torch.randn(5, 3, 8, 8)
    embeddings = model.features(inputs)
    torch.testing.assert_close(model(inputs), embeddings @ model.head.weight.T + model.head.bias)
    assert isinstance(model.dropout, nn.Dropout) and model.dropout.p > 0
    model.dropout.train()
    torch.manual_seed(3)
    dropped = model(inputs)
    torch.manual_seed(3)
    torch.testing.assert_close(dropped, model.head(F.dropout(embeddings, model.dropout.p)))
    assert not torch.allclose(dropped, model(inputs))


@pytest.mark.parametrize(("side", "map_side"), [(32, 32), (64, 64), (65, 17), (96, 24)])
def test_resnet_stem_fits_the_image(side, map_side):
    backbone = build_model("resnet18", (2, side, side), 3).backbone.eval()
    with torch.no_grad():
        maps = backbone.stem(torch.randn(1, 2, side, side))
        assert maps.shape == (1, 64, map_side, map_side)
        embeddings = backbone(torch.randn(2, 2, side, side))
    assert embeddings.shape == (2, 512)
    assert len(backbone.stages) == 4


@pytest.mark.parametrize(
    ("options", "side", "map_side"),
    [
        ("stem=cifar", 96, 96), ("stem=imagenet", 32, 8), ("stem=cifar,maxpool=true", 32, 16), ("maxpool=true", 32, 16),
        ("stem=imagenet,maxpool=false", 32, 16), ("maxpool=false", 96, 48), ("stem=auto,maxpool=auto", 32, 32),
    ],
)  # fmt: skip
def test_requested_resnet_stem(options, side, map_side):
    model = build_model(f"resnet18[{options},dropout=0.1]", (1, side, side), 3).eval()
    with torch.no_grad():
        assert model.backbone.stem(torch.randn(1, 1, side, side)).shape == (1, 64, map_side, map_side)
    assert model.dropout.p == 0.1


def test_resnets_initial_weights_do_not_depend_on_its_options():
    torch.manual_seed(4)
    plain = build_model("resnet18", (3, 16, 16), 3).state_dict()
    torch.manual_seed(4)
    with_options = build_model("resnet18[stem=cifar,maxpool=true,dropout=0]", (3, 16, 16), 3).state_dict()
    assert all(torch.equal(value, with_options[key]) for key, value in plain.items())


def test_resnet_is_torchvisions_network():
    from torchvision.models import resnet18

    ours = build_model("resnet18", (3, 96, 96), 10).eval()
    theirs = resnet18(weights=None).eval()
    counterparts = {"stem.0": "conv1", "stem.1": "bn1"}
    counterparts |= {f"stages.{number}": f"layer{number + 1}" for number in range(4)}
    state = theirs.state_dict()
    for ours_name, value in ours.backbone.state_dict().items():
        for prefix, other in counterparts.items():
            if ours_name.startswith(prefix + "."):
                state[other + ours_name.removeprefix(prefix)] = value
    theirs.load_state_dict(state)
    theirs.fc = nn.Identity()
    inputs = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours.features(inputs), theirs(inputs))


def test_auto_chooses_by_the_data():
    assert choose_model((7,)) == "gp" and choose_model((7,), scaling="feature", by_gradient=True) == "mlp"
    assert choose_model((7,), scaling="feature") == "tabular"
    assert choose_model((1, 8, 8)) == choose_model((3, 32, 32)) == "cnn"
    assert choose_model((3, 33, 20)) == choose_model((3, 20, 33)) == "resnet18"
    assert resolve_model("auto", (7,)).name == "gp" and resolve_model("linear", (7,)).name == "linear"
    assert build_model("auto", (1, 8, 8), 3).embedding_dim == 128


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_image_models_refuse_vectors(name):
    with pytest.raises(InputError, match=rf"{name}.*images.*mlp or linear"):
        build_model(name, (7,), 3)


def test_unknown_model_suggests_the_closest():
    with pytest.raises(UnknownNameError, match="resnet18"):
        build_model("resnet", (3, 8, 8), 3)


def test_third_party_models_are_built_and_checked():
    class Plugin:
        @hookimpl
        def deepal_register_models(self, registry):
            registry.add("tiny", lambda shape, n: TaskModel(nn.Flatten(), shape[0], n, dropout=0.0), inputs="vectors")
            registry.add("broken", lambda shape, n: nn.Linear(shape[0], n))
            registry.add("narrow", lambda shape, n: TaskModel(nn.Flatten(), shape[0], n + 1))

    plugin = Plugin()
    plugin_host().register(plugin, "test-models")
    try:
        assert build_model("tiny", (4,), 3)(torch.zeros(2, 4)).shape == (2, 3)
        for name in ("broken", "narrow"):
            with pytest.raises(PluginError, match=f"{name}.*must return a TaskModel of 3 classes"):
                build_model(name, (4,), 3)
    finally:
        plugin_host().unregister(plugin)


@pytest.mark.parametrize(("width", "classes", "rate"), [(0, 3, 0.5), (4, 1, 0.5), (4, 3, 1.0), (4, 3, -0.1)])
def test_impossible_task_models_are_refused(width, classes, rate):
    with pytest.raises(InputError):
        TaskModel(nn.Flatten(), width, classes, rate)


def test_dropout_in_the_backbone_is_detected():
    from torchvision.ops import StochasticDepth

    class DropPath(nn.Module):
        drop_prob = 0.1

    assert TaskModel(nn.Sequential(nn.Dropout(0.0), nn.Flatten()), 4, 3).dropout_only_in_head
    random_parts = [
        nn.Dropout(0.1), nn.AlphaDropout(0.2), StochasticDepth(0.3, "row"), DropPath(),
        nn.MultiheadAttention(4, 2, dropout=0.1), nn.LSTM(4, 4, num_layers=2, dropout=0.1),
    ]  # fmt: skip
    for part in random_parts:
        backbone = nn.Sequential(nn.BatchNorm1d(4), nn.Sequential(part))
        assert dropout_parts(backbone) == [part]
        assert not TaskModel(backbone, 4, 3).dropout_only_in_head


def test_listing_models_imports_nothing_heavy():
    code = (
        "import sys; from deepal_autoal import plugin_host; entries = plugin_host().models.entries();"
        "print({e.name for e in entries} >= {'linear', 'mlp', 'cnn', 'resnet18'},"
        " {'torch', 'torchvision', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(" ", 1) == ["True", "set()\n"]


def test_building_is_reproducible():
    states = []
    for _ in range(2):
        torch.manual_seed(11)
        states.append(build_model("cnn", (1, 8, 8), 4).state_dict())
    assert all(np.array_equal(states[0][key], states[1][key]) for key in states[0])
