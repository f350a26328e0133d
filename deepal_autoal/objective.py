"""`Objective`: what training minimises. Strategies that change training put their own in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal.models import TaskModel


class Objective(nn.Module):
    """Cross-entropy of a task model.

    A subclass may change the model when it is made, hold networks that are trained beside it, and return another
    loss. Everything that belongs to it is a parameter, a buffer or a constructor argument, so that its
    ``state_dict`` restores it. All of its parameters are optimised.

    Args:
        model: The task model to train, just initialised; torch's global generator is seeded for further parts.

    Raises:
        InputError: In a subclass, if the model lacks what it needs. It is made once before any training, so that
            this is said at the start.
    """

    def __init__(self, model: TaskModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, labels: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """Return the logits and the loss of one step, in training mode and under the recipe's precision.

        Args:
            inputs: Normalised and augmented, float32 (n, C, H, W) or (n, D).
            labels: int64 (n,).
            progress: Share of the training's steps taken so far, in [0, 1).

        Returns:
            Logits (n, n_classes), and the scalar loss, which is the mean over the samples.
        """
        logits: Tensor = self.model(inputs)
        return logits, F.cross_entropy(logits.float(), labels)
