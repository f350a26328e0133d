"""ImageNet weights: files as torchvision publishes them, networks with another stem or number of channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.models

from deepal_autoal import ActiveLearner, InputError, load_model, run
from deepal_autoal.datasets.base import Dataset
from deepal_autoal.experiment.embedding import embed
from deepal_autoal.models import build_model
from deepal_autoal.models.pretrained import replaced_weights

pytestmark = pytest.mark.slow

FILES = {
    "resnet18": "resnet18-f37072fd.pth",
    "mobilenet_v3_small": "mobilenet_v3_small-047dcff4.pth",
    "densenet121": "densenet121-a639ec97.pth",
    "googlenet": "googlenet-1378be20.pth",
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder for torch.hub, and no network."""

    def offline(*arguments, **named):
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub._hub_dir", None)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def publish(hub, architecture, rename=str):
    """Write weights as torchvision's file, and return them by their current names."""
    with torch.random.fork_rng():
        torch.manual_seed(77)
        network = torchvision.models.get_model(architecture, weights=None)
    state = network.state_dict()
    # Older files do not count BatchNorm's batches.
    torch.save(
        {rename(key): value for key, value in state.items() if not key.endswith("num_batches_tracked")},
        hub / FILES[architecture],
    )
    return state


def test_resnet_gets_all_but_the_head(hub):
    published = publish(hub, "resnet18")
    torch.manual_seed(0)
    model = build_model("resnet18[weights=imagenet]", (3, 96, 96), 10)
    for name in ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4"):
        part = {"conv1": "stem.0", "bn1": "stem.1"}.get(name) or f"stages.{int(name[-1]) - 1}"
        for key, value in model.backbone.get_submodule(part).state_dict().items():
            assert torch.equal(value, published[f"{name}.{key}"]), key
    torch.manual_seed(0)
    head = build_model("resnet18", (3, 96, 96), 10).head.weight
    assert torch.equal(model.head.weight, head)  # published weights take nothing from the generator


@pytest.mark.parametrize(
    ("options", "shape", "stem"),
    [("", (1, 96, 96), "sum"), ("", (4, 96, 96), "own"), ("stem=cifar,", (3, 96, 96), "own"), ("", (1, 32, 32), "own")],
)
def test_a_stem_with_another_shape(hub, options, shape, stem):
    published = publish(hub, "resnet18")
    torch.manual_seed(3)
    expected = build_model(f"resnet18[{options}weights=none]", shape, 10).backbone.stem[0].weight
    if stem == "sum":
        expected = published["conv1.weight"].sum(dim=1, keepdim=True)
    torch.manual_seed(3)
    backbone = build_model(f"resnet18[{options}weights=imagenet]", shape, 10).backbone
    assert torch.equal(backbone.stem[0].weight, expected)
    assert torch.equal(backbone.stages[3][1].conv2.weight, published["layer4.1.conv2.weight"])


def test_one_channel_gives_the_features_of_three_equal_ones(hub):
    publish(hub, "mobilenet_v3_small")
    gray, colored = (
        build_model("torchvision/mobilenet_v3_small[weights=imagenet]", (channels, 48, 48), 10).eval()
        for channels in (1, 3)
    )
    images = torch.randn(2, 1, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(
            gray.features(images), colored.features(images.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4
        )


def test_files_with_older_names_and_auxiliary_classifiers(hub):
    def old(key):
        parts = key.rsplit(".", 2)
        is_layer = "denselayer" in key and parts[1][-1] in "12"
        return f"{parts[0]}.{parts[1][:-1]}.{parts[1][-1]}.{parts[2]}" if is_layer else key

    published = publish(hub, "densenet121", old)
    state = build_model("torchvision/densenet121[weights=IMAGENET1K_V1]", (3, 48, 48), 3).backbone.network.state_dict()
    assert all(torch.equal(state[key], published[key]) for key in state if not key.endswith("tracked"))
    published = publish(hub, "googlenet")
    assert any(key.startswith("aux1") for key in published)
    state = build_model("torchvision/googlenet[weights=imagenet]", (3, 48, 48), 3).backbone.network.state_dict()
    assert state and all(torch.equal(value, published[key]) for key, value in state.items())


def test_weights_that_cannot_be_obtained_are_reported_in_one_line(hub):
    with pytest.raises(InputError, match=r"OSError: no network.*download\.pytorch\.org.*put it at") as caught:
        build_model("resnet18[weights=imagenet]", (3, 96, 96), 10)
    assert str(hub / FILES["resnet18"]) in str(caught.value) and "\n" not in str(caught.value)
    (hub / FILES["resnet18"]).write_bytes(b"half a file")
    with pytest.raises(InputError, match="cannot be obtained"):
        build_model("torchvision/resnet18[weights=imagenet]", (3, 96, 96), 10)
    with pytest.raises(InputError, match=r"unknown weights of resnet18: 'IMAGENET1K_V2'. Did you mean 'IMAGENET1K_V1'"):
        build_model("torchvision/resnet18[weights=IMAGENET1K_V2]", (3, 96, 96), 10)


def test_an_existing_file_is_not_unpickled(hub, tmp_path):
    class Deed:
        def __reduce__(self):
            return (open, (str(tmp_path / "done"), "w"))

    torch.save({"conv1.weight": Deed()}, hub / FILES["resnet18"])
    with pytest.raises(InputError, match="cannot be obtained"):
        build_model("resnet18[weights=imagenet]", (3, 96, 96), 10)
    assert not (tmp_path / "done").exists()


def test_saved_models_need_no_published_file(hub, tmp_path, image_data, quick):
    publish(hub, "resnet18")
    settings = {**quick, "model": "resnet18[weights=imagenet]", "rounds": 0, "epochs": 1}
    result = run("random", image_data, out=tmp_path / "run", **settings)
    assert result.config["model"]["options"]["weights"] == "imagenet"
    learner = ActiveLearner(
        image_data.x_train, "random", 2, model=settings["model"], recipe={"epochs": 1, "min_steps": 1}
    )
    learner.tell(range(8), image_data.y_train[:8])
    expected = learner.predict_proba(image_data.x_test)
    learner.save(tmp_path / "learner.pt")
    (hub / FILES["resnet18"]).unlink()
    accuracy = (load_model(tmp_path / "run", device="cpu").predict(image_data.x_test) == image_data.y_test).mean()
    assert accuracy == pytest.approx(result.accuracy)
    loaded = ActiveLearner.load(tmp_path / "learner.pt", image_data.x_train)
    assert (loaded.predict_proba(image_data.x_test) == expected).all()
    with pytest.raises(InputError, match="cannot be obtained"):
        run("random", image_data, out=tmp_path / "other", **settings)
    with replaced_weights():
        build_model("torchvision/resnet18[weights=imagenet]", (3, 32, 32), 2)


def test_a_model_says_what_its_weights_were_trained_on(hub):
    publish(hub, "resnet18")
    assert build_model("resnet18", (3, 96, 96), 10).published is None
    published = build_model("resnet18[weights=imagenet]", (3, 96, 96), 10).published
    assert published.side == 224
    torch.testing.assert_close(published.normalization(3).mean, torch.tensor([0.485, 0.456, 0.406]))
    torch.testing.assert_close(published.normalization(3).std, torch.tensor([0.229, 0.224, 0.225]))
    torch.testing.assert_close(published.normalization(1).mean, torch.tensor([0.449]))
    assert published.normalization(4) is None
    publish(hub, "mobilenet_v3_small")
    assert build_model("torchvision/mobilenet_v3_small[weights=imagenet]", (3, 64, 64), 10).published.side == 224


def test_embeddings_of_published_weights_are_torchvisions(hub, tmp_path, caplog):
    """They match torchvision's own scaling, normalization and network."""
    publish(hub, "resnet18")
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (4, 40, 40, 3), dtype=np.uint8)
    data = Dataset("noise", x, np.array([0, 1, 0, 1]), x[:2], np.array([0, 1]), ("a", "b"))
    with caplog.at_level("WARNING"):
        embed(data, "resnet18[weights=imagenet,stem=imagenet]", tmp_path / "a.npz", dtype="float32", image_size=112,
              precision="float32")  # fmt: skip
    assert "random weights" not in caplog.text and "--image-size" not in caplog.text
    weights = torchvision.models.ResNet18_Weights.DEFAULT
    network = torchvision.models.resnet18(weights=weights).eval()
    network.fc = torch.nn.Identity()
    images = torch.from_numpy(x).permute(0, 3, 1, 2) / 255
    scaled = torch.nn.functional.interpolate(images, (112, 112), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        expected = network((scaled - mean) / std)
    torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / "a.npz")["x"]), expected, rtol=1e-3, atol=1e-3)
    embed(data, "resnet18[weights=imagenet]", tmp_path / "b.npz")
    assert "--image-size 224" in caplog.text
