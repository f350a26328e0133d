"""A small multilayer perceptron for feature vectors."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from torch import nn

from deepal_autoal.training.task_model import TaskModel

if TYPE_CHECKING:
    from torch import Tensor

WIDTHS = (256, 128)


class MlpBackbone(nn.Module):
    """Hidden layers with BatchNorm.

    Args:
        n_features: Numbers per flattened input.

    Attributes:
        stages: The hidden layers.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        widths = (n_features, *WIDTHS)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Linear(width, following, bias=False), nn.BatchNorm1d(following), nn.ReLU(inplace=True))
            for width, following in itertools.pairwise(widths)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return embeddings, (n, 128)."""
        hidden = inputs.flatten(1)
        for stage in self.stages:
            hidden = stage(hidden)
        return hidden


def build(input_shape: tuple[int, ...], n_classes: int) -> TaskModel:
    """Return a perceptron with two hidden layers.

    Args:
        input_shape: (D,), or (C, H, W), which is flattened.
        n_classes: Number of outputs.
    """
    return TaskModel(MlpBackbone(math.prod(input_shape)), WIDTHS[-1], n_classes)
