"""ResNet-18 (He et al. 2016), with the stem that fits the image size or the requested one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn

from deepal_autoal.models.pretrained import NONE, are_needed, load_torchvision_weights
from deepal_autoal.models.shapes import image_shape
from deepal_autoal.training.task_model import DEFAULT_DROPOUT, Published, TaskModel

if TYPE_CHECKING:
    from torch import Tensor

EMBEDDING_DIM = 512
# CIFAR's stem is used up to this side: the standard one would reduce a 32×32 image to 8×8 before the first block.
SMALL = 64


class ResNetBackbone(nn.Module):
    """torchvision's ResNet-18 without its classifier.

    Args:
        channels: Number of channels.
        small_stem: Whether the first convolution is CIFAR's, 3×3 with stride 1, instead of the standard 7×7 with
            stride 2.
        maxpool: Whether the 3×3 max-pooling with stride 2 follows it.
        weights: ``none`` or ``imagenet``, for torchvision's. The 3×3 convolution keeps its initial weights, as does
            one for two or more than three channels; one for a single channel gets the sum over the three.

    Attributes:
        stem: The layers before the residual blocks.
        stages: The four stages of residual blocks.
    """

    def __init__(self, channels: int, small_stem: bool, maxpool: bool, weights: str = NONE) -> None:
        super().__init__()
        # Imported here because torchvision takes most of a second to import.
        from torchvision.models import resnet18

        network = resnet18(weights=None)
        kernel, stride = (3, 1) if small_stem else (7, 2)
        network.conv1 = nn.Conv2d(channels, 64, kernel_size=kernel, stride=stride, padding=kernel // 2, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.published: Published | None = None
        if are_needed(weights):
            self.published = load_torchvision_weights(network, "resnet18", weights, "conv1", kept=["fc"])
        stem = [network.conv1, network.bn1, network.relu]
        self.stem = nn.Sequential(*stem, network.maxpool) if maxpool else nn.Sequential(*stem)
        self.stages = nn.ModuleList([network.layer1, network.layer2, network.layer3, network.layer4])

    def forward(self, inputs: Tensor) -> Tensor:
        """Return embeddings, (n, 512), non-negative: the means of the last maps."""
        maps: Tensor = self.stem(inputs)
        for stage in self.stages:
            maps = stage(maps)
        return maps.mean(dim=(2, 3))


def build(
    input_shape: tuple[int, ...],
    n_classes: int,
    stem: Literal["auto", "cifar", "imagenet"] = "auto",
    maxpool: Literal["auto"] | bool = "auto",
    weights: Literal["none", "imagenet"] = NONE,
    dropout: float = DEFAULT_DROPOUT,
) -> TaskModel:
    """Return the network.

    Args:
        input_shape: (C, H, W).
        n_classes: Number of outputs.
        stem: ``cifar``, ``imagenet``, or ``auto``: CIFAR's up to 64 pixels a side.
        maxpool: Whether max-pooling follows the stem's convolution; ``auto`` only with the ``imagenet`` stem.
        weights: See `ResNetBackbone`.
        dropout: Rate in front of the classifier.

    Raises:
        InputError: If the inputs are not images, or the weights cannot be obtained.
    """
    channels, height, width = image_shape("resnet18", input_shape)
    small_stem = max(height, width) <= SMALL if stem == "auto" else stem == "cifar"
    backbone = ResNetBackbone(channels, small_stem, not small_stem if maxpool == "auto" else maxpool, weights)
    model = TaskModel(backbone, EMBEDDING_DIM, n_classes, dropout)
    model.published = backbone.published
    return model
