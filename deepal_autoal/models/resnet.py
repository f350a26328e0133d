"""ResNet-18 (He et al. 2016), with the stem that fits the image size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from deepal_autoal.models.base import TaskModel
from deepal_autoal.models.shapes import image_shape

if TYPE_CHECKING:
    from torch import Tensor

EMBEDDING_DIM = 512
# Up to this side CIFAR's stem: the standard one would leave a 32×32 image a map of 8×8 before the first block.
SMALL = 64


class ResNetBackbone(nn.Module):
    """torchvision's ResNet-18 without its classifier.

    Args:
        input_shape: (C, H, W), any number of channels. Images of at most 64 pixels a side get a 3×3 stem of
            stride 1 without max-pooling, larger ones the standard 7×7 of stride 2 with it.

    Attributes:
        stem: What comes before the residual blocks.
        stages: The four stages of residual blocks.
    """

    def __init__(self, input_shape: tuple[int, int, int]) -> None:
        super().__init__()
        # torchvision takes most of a second to import.
        from torchvision.models import resnet18

        channels, height, width = input_shape
        network = resnet18(weights=None)
        small = max(height, width) <= SMALL
        kernel, stride = (3, 1) if small else (7, 2)
        conv = nn.Conv2d(channels, 64, kernel_size=kernel, stride=stride, padding=kernel // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        stem = [conv, network.bn1, network.relu]
        self.stem = nn.Sequential(*stem) if small else nn.Sequential(*stem, network.maxpool)
        self.stages = nn.ModuleList([network.layer1, network.layer2, network.layer3, network.layer4])

    def forward(self, inputs: Tensor) -> Tensor:
        """Return embeddings, (n, 512), non-negative: the last maps' means."""
        maps: Tensor = self.stem(inputs)
        for stage in self.stages:
            maps = stage(maps)
        return maps.mean(dim=(2, 3))


def build(input_shape: tuple[int, ...], n_classes: int) -> TaskModel:
    """Return the network.

    Args:
        input_shape: (C, H, W).
        n_classes: Number of outputs.

    Raises:
        InputError: If the inputs are not images.
    """
    return TaskModel(ResNetBackbone(image_shape("resnet18", input_shape)), EMBEDDING_DIM, n_classes)
