"""`default_embedding`: a published network only if its weights are on this machine and suit the images."""

import numpy as np
import pytest

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.experiment.default_embedding import default_embedding


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder of torch.hub's weights, and no network."""

    def offline(*arguments, **named):
        raise AssertionError("a download was tried")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub._hub_dir", None)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def images(height, width=None):
    x = np.zeros((2, height, width or height, 3), dtype=np.uint8)
    return Dataset("images", x, np.arange(2), x, np.arange(2), ("a", "b"))


def test_without_weights_patches(hub):
    choice = default_embedding(images(224))
    assert choice.model == "patches" and "can be downloaded (--model 'torchvision/convnext_tiny" in choice.reason
    assert "--image-size" not in choice.reason and "--image-size 224" in default_embedding(images(32)).reason


def test_the_best_network_that_suits_the_images(hub):
    for name in (
        "resnet18-f37072fd.pth", "resnet50-0676ba61.pth", "vgg16-397923af.pth", "alexnet-owt-7be5be79.pth",
        "efficientnet_b4_rwightman-23ab8bcd.pth",
    ):  # fmt: skip
        (hub / name).touch()
    # VGG-16 is too slow, and EfficientNet-B4 is for images of 380 pixels.
    assert default_embedding(images(112, 300)).model == "torchvision/resnet50[weights=IMAGENET1K_V1]"
    assert default_embedding(images(190)).model == "torchvision/efficientnet_b4[weights=IMAGENET1K_V1]"
    assert default_embedding(images(111)).model == "patches"
    choice = default_embedding(images(28), image_size=(160, 160))
    assert choice.model == "torchvision/resnet50[weights=IMAGENET1K_V1]"
    assert choice.reason.startswith(
        f"{choice.model}, the most accurate network whose weights are on this machine; a better"
    )
    (hub / "convnext_tiny-983f1562.pth").touch()
    (hub / "efficientnet_b4_rwightman-23ab8bcd.pth").unlink()
    choice = default_embedding(images(224))
    assert choice.model == "torchvision/convnext_tiny[weights=IMAGENET1K_V1]" and choice.reason.endswith("machine")
