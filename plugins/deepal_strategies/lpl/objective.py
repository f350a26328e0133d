"""Training with a loss-prediction module on the outputs of the backbone's stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from deepal_autoal import InputError, Objective, pass_zeros

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


class LossPredictionObjective(Objective):
    """Mean cross-entropy + ``weight`` · ranking loss of the predicted losses.

    The losses to predict are the samples' own cross-entropies, without gradients. The predictor and both losses
    are computed in float32, even if the backbone is not.

    Args:
        model: A task model whose backbone has ``stages`` with outputs (n, d) or (n, C, H, W); maps are
            averaged over their pixels.
        margin: ξ of `ranking_loss`.
        weight: λ of the ranking loss.
        width: Width of the predictor's first layers.
        detach_after: Share of the training after which the ranking loss trains only the predictor.

    Raises:
        InputError: If the backbone has no stages, or their outputs have another shape.
    """

    def __init__(self, model: TaskModel, margin: float, weight: float, width: int, detach_after: float) -> None:
        super().__init__(model)
        self.margin = margin
        self.weight = weight
        self.detach_after = detach_after
        self.predictor = LossPredictor(stage_widths(model), width)

    def forward(self, inputs: Tensor, labels: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """Return the logits (n, n_classes) and the loss of one step (see `Objective.forward`)."""
        with self._tapped() as features:
            logits, loss = super().forward(inputs, labels, progress)
        if progress >= self.detach_after:
            features = [pooled.detach() for pooled in features]
        losses = F.cross_entropy(logits.detach().float(), labels, reduction="none")
        return logits, loss + self.weight * ranking_loss(self._predict(features), losses, self.margin)

    def predicted_losses(self, inputs: Tensor) -> Tensor:
        """Return the predicted losses, float32 (n,), of normalized inputs; only their order is meaningful."""
        with self._tapped() as features:
            self.model.features(inputs)
        return self._predict(features)

    def _predict(self, features: Sequence[Tensor]) -> Tensor:
        # In bfloat16 the predictions of many samples would be equal.
        with torch.autocast(features[0].device.type, enabled=False):
            return cast("Tensor", self.predictor(features))

    @contextmanager
    def _tapped(self) -> Iterator[list[Tensor]]:
        """Yield a list that holds the stages' pooled outputs once the model has run inside the block."""
        stages = _stages(self.model)
        features = [torch.empty(0)] * len(stages)
        # Only for the block: every copy of the model would contain permanent hooks.
        handles = [stage.register_forward_hook(_keep(features, number)) for number, stage in enumerate(stages)]
        try:
            yield features
        finally:
            for handle in handles:
                handle.remove()


def ranking_loss(predicted: Tensor, losses: Tensor, margin: float) -> Tensor:
    """Return the mean of max(0, ξ - sign(l_i - l_j)(l̂_i - l̂_j)) over the pairs (i, n + 1 - i), counted from 1.

    The middle one of an odd number of samples has no partner; a single sample has the loss 0. Equal losses have no
    order to learn: such a pair has the constant loss ξ, as sign(0) = 0. (The paper's text has -1 instead of 0, which
    would teach the pair's arbitrary order in the batch.)

    Args:
        predicted: l̂, (n,).
        losses: l, (n,), without gradients.
        margin: ξ.
    """
    n_pairs = len(predicted) // 2
    if not n_pairs:
        return predicted.sum() * 0.0
    # flip puts sample n + 1 - i at the position of i.
    sign = (losses - losses.flip(0))[:n_pairs].sign()
    gap = (predicted - predicted.flip(0))[:n_pairs]
    return (margin - sign * gap).clamp(min=0.0).mean()


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
