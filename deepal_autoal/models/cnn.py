"""A small convolutional network for images of about 8×8 to 32×32, fast on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import nn

from deepal_autoal.models.shapes import image_shape
from deepal_autoal.training.task_model import TaskModel

if TYPE_CHECKING:
    from torch import Tensor

WIDTHS = (32, 64, 64)
EMBEDDING_DIM = 128
# The embedding gets a grid of at most this many cells a side. Averaging over the whole map costs 5 points of
# accuracy on MNIST with 250 labels.
GRID = 4
# Images up to this side keep their resolution through the first convolution.
TINY = 12


class CnnBackbone(nn.Module):
    """Three 3×3 convolutions, with the map reduced early, and a dense layer.

    Pooling comes before BatchNorm and ReLU, which then work on a quarter of the values.

    Args:
        input_shape: (C, H, W), any number of channels.

    Attributes:
        stages: The convolutional blocks.
    """

    def __init__(self, input_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, *sides = input_shape
        blocks = []
        for width, reduces in zip(WIDTHS, (max(sides) > TINY, True, False), strict=True):
            blocks.append(_block(channels, width, reduces))
            channels = width
            sides = [-(-side // 2) for side in sides] if reduces else sides
        self.stages = nn.ModuleList(blocks)
        cells = [-(-side // GRID) for side in sides]
        height, width = (-(-side // cell) for side, cell in zip(sides, cells, strict=True))
        self.pool = nn.AvgPool2d((cells[0], cells[1]), ceil_mode=True)
        self.embed = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * height * width, EMBEDDING_DIM, bias=False),
            nn.BatchNorm1d(EMBEDDING_DIM),
            nn.ReLU(inplace=True),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return embeddings, (n, 128), non-negative."""
        maps = inputs
        for stage in self.stages:
            maps = stage(maps)
        return cast("Tensor", self.embed(self.pool(maps)))


def build(input_shape: tuple[int, ...], n_classes: int) -> TaskModel:
    """Return the network.

    Args:
        input_shape: (C, H, W).
        n_classes: Number of outputs.

    Raises:
        InputError: If the inputs are not images.
    """
    return TaskModel(CnnBackbone(image_shape("cnn", input_shape)), EMBEDDING_DIM, n_classes)


def _block(channels: int, width: int, reduces: bool) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)]
    if reduces:
        parts.append(nn.MaxPool2d(2, ceil_mode=True))
    return nn.Sequential(*parts, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
