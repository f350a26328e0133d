"""The loss-prediction module of Yoo & Kweon (CVPR 2019), and the outputs of a backbone's stages that it reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from deepal_autoal import InputError, pass_zeros

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import TaskModel


class LossPredictor(nn.Module):
    """Each stage's pooled output → FC → ReLU; all concatenated → FC → one number.

    Args:
        widths: Channels of the stages' outputs, at least one stage.
        hidden: Width of the first layers.
    """

    def __init__(self, widths: Sequence[int], hidden: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Linear(width, hidden) for width in widths)
        self.combine = nn.Linear(hidden * len(widths), 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return predicted losses, (n,), of the stages' pooled outputs, each (n, width)."""
        hidden = [F.relu(branch(pooled)) for branch, pooled in zip(self.branches, features, strict=True)]
        return cast("Tensor", self.combine(torch.cat(hidden, dim=1))).squeeze(1)


@contextmanager
def pooled_stages(model: TaskModel) -> Iterator[list[Tensor]]:
    """Yield a list that holds the stages' pooled outputs, (n, width) each, once the model has run inside the block.

    Raises:
        InputError: If the backbone has no stages.
    """
    stages = _stages(model)
    features = [torch.empty(0)] * len(stages)
    # Only for the block: every copy of the model would contain permanent hooks.
    handles = [stage.register_forward_hook(_keep(features, number)) for number, stage in enumerate(stages)]
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()


def stage_widths(model: TaskModel) -> list[int]:
    """Return the number of channels of each stage's output.

    Raises:
        InputError: If the backbone has no stages, or their outputs are neither (n, d) nor (n, C, H, W).
    """
    stages = _stages(model)
    outputs = {call.part: call.output for call in pass_zeros(model.backbone, model.input_shape)}
    widths = []
    for number, stage in enumerate(stages):
        output = outputs.get(stage)
        if not isinstance(output, torch.Tensor) or output.ndim not in (2, 4):
            form = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise InputError(
                f"loss prediction needs stages that return (n, d) or (n, C, H, W), but backbone.stages.{number} "
                f"returns {form}; choose another --model, such as mlp, cnn or resnet18"
            )
        widths.append(output.shape[1])
    return widths


def has_stages(model: TaskModel) -> bool:
    """Return whether the backbone has stages to read."""
    stages = getattr(model.backbone, "stages", None)
    return isinstance(stages, nn.ModuleList) and len(stages) > 0


def _stages(model: TaskModel) -> nn.ModuleList:
    stages = getattr(model.backbone, "stages", None)
    if not isinstance(stages, nn.ModuleList) or not len(stages):
        raise InputError(
            "loss prediction reads the outputs of the backbone's stages, but this model has none; "
            "choose another --model, such as mlp, cnn or resnet18, or give your backbone an nn.ModuleList 'stages'"
        )
    return stages


def _keep(features: list[Tensor], number: int) -> Any:
    def keep(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        # Vectors are copied too, as the next layer may work in place.
        pooled = output.to(torch.float32, copy=True) if output.ndim == 2 else output.mean((2, 3), dtype=torch.float32)
        features[number] = pooled

    return keep
