"""`Objective`: what training minimizes. Strategies that change training replace it with their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal.training.task_model import TaskModel


class Objective(nn.Module):
    """Cross-entropy of a task model.

    A subclass may change the model on creation, hold networks that are trained alongside, and return another loss.
    All its state is in parameters, buffers or constructor arguments, so its ``state_dict`` restores it. All of its
    parameters are optimized.

    Args:
        model: The task model to train, just initialized; torch's global generator is seeded for additional parts.

    Raises:
        InputError: In a subclass, if the model lacks something it needs. One objective is created before any training,
            so this is reported at the start.
    """

    def __init__(self, model: TaskModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, labels: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """Return the logits and the loss of one step, in training mode and under the recipe's precision.

        Args:
            inputs: Normalized and augmented, float32 (n, C, H, W) or (n, D).
            labels: int64 (n,).
            progress: Share of the training's steps taken so far, in [0, 1).

        Returns:
            Logits (n, n_classes), and the scalar loss, which is the mean over the samples.
        """
        logits: Tensor = self.model(inputs)
        return logits, F.cross_entropy(logits.float(), labels)

    def training_metrics(self) -> dict[str, float]:
        """Return further metrics of the training, by name; called once, after the last step."""
        return {}
