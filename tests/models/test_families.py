"""Models of torchvision and of timm by name."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deepal_autoal import Dataset, InputError, TaskModel, UnknownNameError, load_model, pass_zeros, run
from deepal_autoal.models import build_model
from deepal_autoal.models.adapted import adapt_classifier, adapt_embedder
from deepal_autoal.models.find_layers import find_stages

# One of each form: blocks, gates and dropout, a classifier of three layers, two branches, channels last.
TORCHVISION = {
    "resnet18": (512, 0.5),
    "mobilenet_v3_small": (1024, 0.2),
    "shufflenet_v2_x0_5": (1024, 0.5),
    "regnet_x_400mf": (400, 0.5),
    "googlenet": (1024, 0.2),
    "densenet121": (1024, 0.5),
    "swin_t": (768, 0.5),
}


def check_task_model(model, shape, embedding_dim):
    """Check logits, gradients, embeddings, and access to the stages' outputs."""
    inputs = torch.randn(2, *shape)
    logits = model.train()(inputs)
    assert logits.shape == (2, 10)
    F.cross_entropy(logits, torch.tensor([0, 9])).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    model.eval()
    outputs = []
    handles = [
        stage.register_forward_hook(lambda part, given, output: outputs.append(tuple(output.shape)))
        for stage in model.backbone.stages
    ]
    with torch.no_grad():
        features = model.features(inputs)
        for handle in handles:
            handle.remove()
        assert features.shape == (2, embedding_dim) and model.embedding_dim == embedding_dim
        assert torch.equal(model.head(model.dropout(features)), model(inputs))
    assert 1 <= len(outputs) <= 4 and len(outputs) == len(model.backbone.stages)
    assert all(len(shape) in (2, 4) for shape in outputs)
    areas = [shape[2] * shape[3] for shape in outputs if len(shape) == 4]
    assert all(larger > smaller for larger, smaller in pairwise(areas))
    return outputs


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_classifiers(name):
    embedding_dim, rate = TORCHVISION[name]
    channels = 3 if name == "swin_t" else 1
    model = build_model(f"torchvision/{name}", (channels, 48, 40), 10)
    assert model.dropout.p == rate
    check_task_model(model, (channels, 48, 40), embedding_dim)
    # Nothing is saved twice.
    assert len({value.data_ptr() for value in model.parameters()}) == len(list(model.parameters()))
    assert len(model.state_dict()) == len(list(model.parameters())) + len(list(model.buffers()))


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("resnet18", ["layer1", "layer2", "layer3", "layer4"]),
        ("mobilenet_v3_small", ["features.1", "features.3", "features.8", "features"]),
        ("shufflenet_v2_x0_5", ["conv1", "stage2", "stage3", "conv5"]),
    ],
)
def test_stages_are_the_ends_of_resolutions(name, stages):
    network = build_model(f"torchvision/{name}", (3, 64, 64), 10).backbone.network
    assert list(find_stages(pass_zeros(network, (3, 64, 64)), (3, 64, 64))) == stages


def test_our_resnet_is_torchvisions():
    ours, theirs = build_model("resnet18", (3, 96, 96), 5).eval(), build_model("torchvision/resnet18", (3, 96, 96), 5)
    names = {"stem.0": "network.conv1", "stem.1": "network.bn1"}
    names |= {f"stages.{number}": f"network.layer{number + 1}" for number in range(4)}
    state = {
        other + key.removeprefix(prefix): value
        for key, value in ours.backbone.state_dict().items()
        for prefix, other in names.items()
        if key.startswith(f"{prefix}.")
    }
    theirs.backbone.load_state_dict(state)
    inputs = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(theirs.eval().features(inputs), ours.features(inputs))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("resnet5", (3, 32, 32), "unknown torchvision classifier 'resnet5'. Did you mean 'resnet50'"),
        ("fasterrcnn_resnet50_fpn", (3, 64, 64), "does not classify images"),
        ("squeezenet1_1", (3, 64, 64), "does not end in a linear classifier"),
        ("vgg11", (1, 28, 28), r"'torchvision/vgg11' cannot take images of 28x28 pixels.*too small"),
        ("resnet18", (7,), "takes images"),
        ("resnet18[dropout=1]", (3, 32, 32), "give a probability"),
    ],
)
def test_unusable_torchvision_models_are_refused(name, shape, message):
    with pytest.raises(InputError, match=message) as caught:
        build_model(f"torchvision/{name}", shape, 10)
    assert "\n" not in str(caught.value)


def test_building_depends_only_on_torchs_generator():
    def state(seed):
        torch.manual_seed(seed)
        return build_model("torchvision/mobilenet_v3_small", (2, 32, 32), 3).state_dict()

    first, same, other = state(1), state(1), state(2)
    assert all(torch.equal(value, same[key]) for key, value in first.items())
    assert any(not torch.equal(value, other[key]) for key, value in first.items())


def test_only_dropout_directly_in_front_of_the_classifier_is_replaced():
    def adapt(*last, dropout=None):
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), *last)
        return adapt_classifier("mine", network, (3, 8, 8), 3, dropout)

    moved = adapt(nn.Dropout(0.3), nn.Linear(144, 7))
    assert moved.dropout.p == 0.3 and moved.dropout_only_in_head and moved.embedding_dim == 144
    assert adapt(nn.Dropout(0.3), nn.Linear(144, 7), dropout=0.0).dropout.p == 0.0
    flattened = adapt(nn.Unflatten(1, (4, 36)), nn.Dropout(0.3), nn.Flatten(), nn.Linear(144, 7))
    assert flattened.dropout.p == 0.3 and flattened.dropout_only_in_head
    behind = adapt(nn.Linear(144, 9), nn.Dropout(0.3), nn.ReLU(inplace=True), nn.Linear(9, 7))
    assert behind.dropout.p == 0.5 and not behind.dropout_only_in_head and behind.embedding_dim == 9
    with pytest.raises(InputError, match="linear classifier"):
        adapt(nn.Linear(144, 7), nn.ReLU())


def test_weights_for_other_channels_are_drawn_like_the_networks_own():
    torch.manual_seed(0)
    one, three = (build_model("torchvision/resnet18", (channels, 32, 32), 3) for channels in (1, 3))
    widths = [float(model.backbone.network.conv1.weight.detach().std()) for model in (one, three)]
    assert one.backbone.network.conv1.in_channels == 1
    assert widths[0] == pytest.approx(widths[1], rel=0.1) and widths[1] == pytest.approx(
        (2 / (64 * 49)) ** 0.5, rel=0.1
    )


@pytest.fixture
def tiny_images():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, size=(40, 16, 16, 3), dtype=np.uint8)
    return Dataset("tiny", x[:30], np.arange(30) % 3, x[30:], np.arange(10) % 3, ("a", "b", "c"))


@pytest.mark.parametrize("strategy", ["lpl", "badge", "ddu"])
def test_strategies_that_use_the_models_layers(tmp_path, tiny_images, strategy):
    result = run(
        strategy, tiny_images, model="torchvision/mobilenet_v3_small", initial=9, batch_size=4, rounds=1, epochs=1,
        recipe={"min_steps": 1}, threads=1, device="cpu", out=tmp_path / "run",
    )  # fmt: skip
    assert len(result.rounds[0]["queried"]) == 4
    predictor = load_model(tmp_path / "run", device="cpu")
    assert (predictor.predict(tiny_images.x_test) == tiny_images.y_test).mean() == pytest.approx(result.accuracy)


@pytest.mark.parametrize("channels", [1, 3])
def test_timm_models(fake_timm, channels):
    model = build_model("timm/tinynet.some_tag[dropout=0.1]", (channels, 40, 48), 10)
    assert isinstance(model, TaskModel) and model.dropout.p == 0.1
    outputs = check_task_model(model, (channels, 40, 48), 32)
    # The last four of six resolutions.
    assert [shape[2:] for shape in outputs] == [(5, 6), (3, 3), (2, 2), (1, 1)]


def test_timm_networks_of_tokens(fake_timm):
    model = build_model("timm/tinyvit_patch4_16", (3, 16, 16), 10)
    assert check_task_model(model, (3, 16, 16), 12) == [(2, 12, 4, 4), (2, 12)]
    with pytest.raises(InputError, match=r"cannot take images of 20x20.*doesn't match"):
        build_model("timm/tinyvit_patch4_16", (3, 20, 20), 10)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tinynat", "unknown timm model 'tinynat'. Did you mean 'tinynet'"),
        ("unpooled", "does not return one feature vector"),
        ("tinynet[weights=pretrained]", r"weights of timm/tinynet cannot be obtained \(RuntimeError: No pret.*HF_HOME"),
        ("tinynet[weights=imagenet]", "not one of none, pretrained"),
    ],
)
def test_unusable_timm_models_are_refused(fake_timm, name, message):
    with pytest.raises(InputError, match=message) as caught:
        build_model(f"timm/{name}", (3, 16, 16), 10)
    assert "\n" not in str(caught.value)


def test_without_timm_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match="pip install timm"):
        build_model("timm/resnet18", (3, 16, 16), 10)


def test_an_embedder_returns_vectors():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 6, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    model = adapt_embedder("mine", network, (3, 16, 16), 10, None)
    assert check_task_model(model, (3, 16, 16), 6) == [(2, 4, 7, 7), (2, 6, 3, 3)]
    assert model.dropout.p == 0.5


def test_listing_families_imports_neither_library():
    code = (
        "import sys; from deepal_autoal import plugin_host; models = plugin_host().models;"
        "print({'torchvision', 'timm'} <= set(models.names()), models.get('timm/x').name,"
        " {'torch', 'torchvision', 'timm'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True timm set()\n"


def test_unknown_architectures_are_unknown_names():
    with pytest.raises(UnknownNameError):
        build_model("torchvision/resnt18", (3, 32, 32), 3)
