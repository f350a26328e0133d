"""Logistic regression: for vectors that are embeddings already."""

from __future__ import annotations

import math

from torch import nn

from deepal_autoal.models.base import TaskModel

# Each dropped feature is information that no hidden layer can make up for.
DROPOUT = 0.2


class FlatInput(nn.Flatten):
    """The identity on vectors (n, D); flattens images."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList()


def build(input_shape: tuple[int, ...], n_classes: int) -> TaskModel:
    """Return a linear classifier on the scaled inputs, which are also its embeddings.

    Args:
        input_shape: (D,), or (C, H, W), which is flattened.
        n_classes: Number of outputs.
    """
    return TaskModel(FlatInput(), math.prod(input_shape), n_classes, DROPOUT)
