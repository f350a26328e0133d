"""Training with a loss-prediction module on the outputs of the backbone's stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch.nn import functional as F

from deepal_autoal import Objective
from deepal_strategies.shared.loss_predictor import LossPredictor, pooled_stages, stage_widths

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import TaskModel


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
        with pooled_stages(self.model) as features:
            logits, loss = super().forward(inputs, labels, progress)
        if progress >= self.detach_after:
            features = [pooled.detach() for pooled in features]
        losses = F.cross_entropy(logits.detach().float(), labels, reduction="none")
        return logits, loss + self.weight * ranking_loss(self._predict(features), losses, self.margin)

    def predicted_losses(self, inputs: Tensor) -> Tensor:
        """Return the predicted losses, float32 (n,), of normalized inputs; only their order is meaningful."""
        with pooled_stages(self.model) as features:
            self.model.features(inputs)
        return self._predict(features)

    def _predict(self, features: Sequence[Tensor]) -> Tensor:
        # In bfloat16 the predictions of many samples would be equal.
        with torch.autocast(features[0].device.type, enabled=False):
            return cast("Tensor", self.predictor(features))


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
