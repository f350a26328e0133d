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

# Decay of the moving average of the ranking loss: a step has only a few pairs.
_DECAY = 0.9


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
        # Sums of the ranking losses and of their weights in the moving average.
        self._recent: Tensor | float = 0.0
        self._recent_weight = 0.0

    def forward(self, inputs: Tensor, labels: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """Return the logits (n, n_classes) and the loss of one step (see `Objective.forward`)."""
        with pooled_stages(self.model) as features:
            logits, loss = super().forward(inputs, labels, progress)
        if progress >= self.detach_after:
            features = [pooled.detach() for pooled in features]
        losses = F.cross_entropy(logits.detach().float(), labels, reduction="none")
        hinge = ranking_loss(self._predict(features), losses, self.margin)
        self._recent = _DECAY * self._recent + hinge.detach()
        self._recent_weight = _DECAY * self._recent_weight + 1.0
        return logits, loss + self.weight * hinge

    def training_metrics(self) -> dict[str, float]:
        """Return ``hinge_loss``, a moving average of the ranking loss over the last steps, about ten."""
        return {"hinge_loss": float(self._recent) / self._recent_weight}

    def predicted_losses(self, inputs: Tensor) -> Tensor:
        """Return the predicted losses, float32 (n,), of normalized inputs; only their order is meaningful."""
        with pooled_stages(self.model) as features:
            self.model.features(inputs)
        return self._predict(features)

    def predicted_and_true_losses(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the predicted losses and the cross-entropies, float32 (n,) each, of normalized inputs."""
        with pooled_stages(self.model) as features:
            logits = self.model(inputs)
        return self._predict(features), F.cross_entropy(logits.float(), labels, reduction="none")

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


def ranking_accuracy(predicted: Tensor, losses: Tensor) -> float | None:
    """Return the share of all pairs whose order the predictions have right, in [0, 1]; at 1/2 they rank at random.

    Equal predictions count half. Pairs of equal losses have no order and are left out; None if there are no others.

    Args:
        predicted: l̂, (n,).
        losses: l, (n,).
    """
    order = (losses[:, None] - losses).sign()
    agreement = order * (predicted[:, None] - predicted).sign()
    n_pairs = int(order.abs().sum())
    return (1.0 + float(agreement.sum()) / n_pairs) / 2 if n_pairs else None
