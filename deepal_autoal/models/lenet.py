"""LeNet-5 (LeCun et al. 1998) in its modern form, with max-pooling and ReLU, for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import nn

from deepal_autoal.errors import InputError
from deepal_autoal.models.shapes import image_shape
from deepal_autoal.training.task_model import TaskModel

if TYPE_CHECKING:
    from torch import Tensor

WIDTHS = (6, 16)
KERNEL = 5
HIDDEN, EMBEDDING_DIM = 120, 84
SMALLEST_SIDE = 8
# The dense layers get a grid of at most this many cells a side, so large images do not make them huge. LeNet-5 has 5
# at 28 and 32 pixels.
GRID = 8
# Dropping half of such a narrow embedding is too much: on digits and MNIST at 100 labels it costs 2 points of accuracy.
DROPOUT = 0.2


class LeNetBackbone(nn.Module):
    """Two 5x5 convolutions with pooling, and dense layers of 120 and 84 units.

    Without BatchNorm, a few hundred steps suffice only with the right initial weights: He's, for ReLU (torch's own,
    two fifths as wide, cost 7 points of accuracy on 100 digits).

    At 28 pixels a side these are LeNet-5's maps: 28, 14, 10, 5. The second convolution is also padded if its maps would
    otherwise become smaller than that.

    Args:
        input_shape: (C, H, W), any number of channels, 8 pixels a side or more.

    Attributes:
        stages: The convolutional blocks.
    """

    def __init__(self, input_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, *sides = input_shape
        halves = [side // 2 for side in sides]
        is_padded = min(halves) < 2 * KERNEL
        self.stages = nn.ModuleList([_block(channels, WIDTHS[0], True), _block(WIDTHS[0], WIDTHS[1], is_padded)])
        sides = [(half if is_padded else half - KERNEL + 1) // 2 for half in halves]
        cells = [-(-side // GRID) for side in sides]
        height, width = (-(-side // cell) for side, cell in zip(sides, cells, strict=True))
        self.pool = nn.AvgPool2d((cells[0], cells[1]), ceil_mode=True)
        self.embed = nn.Sequential(
            nn.Flatten(),
            nn.Linear(WIDTHS[1] * height * width, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, EMBEDDING_DIM),
            nn.ReLU(inplace=True),
        )
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            else:
                nn.init.zeros_(parameter)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return embeddings, (n, 84), non-negative."""
        maps = inputs
        for stage in self.stages:
            maps = stage(maps)
        return cast("Tensor", self.embed(self.pool(maps)))


def build(input_shape: tuple[int, ...], n_classes: int, dropout: float = DROPOUT) -> TaskModel:
    """Return the network.

    Args:
        input_shape: (C, H, W).
        n_classes: Number of outputs.
        dropout: Rate in front of the classifier.

    Raises:
        InputError: If the inputs are not images, or are smaller than 8 pixels a side.
    """
    shape = image_shape("lenet", input_shape)
    if min(shape[1:]) < SMALLEST_SIDE:
        raise InputError(
            f"model 'lenet' takes images of at least {SMALLEST_SIDE} pixels a side, but these are "
            f"{shape[1]}x{shape[2]}; use --model cnn"
        )
    return TaskModel(LeNetBackbone(shape), EMBEDDING_DIM, n_classes, dropout)


def _block(channels: int, width: int, is_padded: bool) -> nn.Sequential:
    padding = KERNEL // 2 if is_padded else 0
    return nn.Sequential(nn.Conv2d(channels, width, KERNEL, padding=padding), nn.MaxPool2d(2), nn.ReLU(inplace=True))
