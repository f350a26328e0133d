"""AutoAL's two networks, on features of a fitted model or as large as the task model."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import nn

from deepal_strategies.shared.loss_predictor import has_stages, pooled_stages, stage_widths
from deepal_strategies.shared.standardize import Standardize

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import TaskModel

WIDTH = 64
LOSS_WIDTH = 32
# Small initial weights of the heads: the search starts from nearly uniform trust.
_INITIAL_DEVIATION = 0.01


class Backbone(nn.Module):
    """A trainable copy of a fitted model's backbone: model inputs → embeddings.

    It stays in evaluation mode: BatchNorm keeps the fitted statistics, which a few labeled samples would only
    degrade, and the search has no dropout noise.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(module).requires_grad_(True).eval()

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode."""
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Return embeddings, (n, D)."""
        return cast("Tensor", self.model.features(inputs))  # type: ignore[operator]


class Detached(nn.Module):
    """Another network's body, used but not trained: its parameters are hidden and get no gradient."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self._shared = (body,)

    def forward(self, samples: Tensor) -> Tensor:
        """Return embeddings, (n, D)."""
        with torch.no_grad():
            return cast("Tensor", self._shared[0](samples))


class FitNet(nn.Module):
    """Ω_F, a classifier: features of the half's model → logits (n, C).

    Args:
        body: Turns the given samples into embeddings; the identity if they already are embeddings.
        standardize: Statistics of the embeddings.
        n_features: D.
        n_classes: C.
    """

    def __init__(self, body: nn.Module, standardize: Standardize, n_features: int, n_classes: int) -> None:
        super().__init__()
        self.body = body
        self.standardize = standardize
        self.head = nn.Linear(n_features, n_classes)

    def features(self, samples: Tensor) -> Tensor:
        """Return the head's inputs, (n, D)."""
        return cast("Tensor", self.standardize(self.body(samples)))

    def forward(self, samples: Tensor) -> Tensor:
        """Return logits (n, C)."""
        return cast("Tensor", self.head(self.features(samples)))


def log_trusts(logits: Tensor, weights: str) -> Tensor:
    """Return log W, (n, K), the logarithm of the ``"softmax"`` over candidates or of each ``"sigmoid"``."""
    return logits.log_softmax(dim=1) if weights == "softmax" else F.logsigmoid(logits)


class SearchNet(nn.Module):
    """Ω_S: features of a model → how far to trust each of K candidates on each sample.

    Args:
        body: As for `FitNet`.
        standardize: As for `FitNet`.
        n_features: D.
        n_candidates: K.
        weights: ``"softmax"``: a sample's W sum to 1, so candidates compete. ``"sigmoid"``: each W is in (0, 1).
    """

    def __init__(
        self, body: nn.Module, standardize: Standardize, n_features: int, n_candidates: int, weights: str = "softmax"
    ) -> None:
        super().__init__()
        self.body = body
        self.standardize = standardize
        self.weights = weights
        self.stages = nn.ModuleList([nn.Linear(n_features, WIDTH), nn.Linear(WIDTH, WIDTH)])
        self.strategy_head = nn.Linear(WIDTH, n_candidates)
        self.mixing_head = nn.Linear(WIDTH, n_candidates)
        for head in (self.strategy_head, self.mixing_head):
            nn.init.normal_(head.weight, std=_INITIAL_DEVIATION)
            nn.init.zeros_(head.bias)

    @property
    def stage_widths(self) -> list[int]:
        """Widths of the hidden stages."""
        return [WIDTH] * len(self.stages)

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return log W (n, K), Θ (n, K), and the hidden stages, (n, WIDTH) each."""
        hidden = self.standardize(self.body(samples))
        stages = []
        for stage in self.stages:
            hidden = stage(hidden).relu()
            stages.append(hidden)
        return log_trusts(self.strategy_head(hidden), self.weights), self.mixing_head(hidden), stages


class OwnFitNet(nn.Module):
    """Ω_F as a network of the task model's architecture, trained from its first layer on.

    Args:
        body: An untrained task model, whose own head is not used.
        n_classes: C.
    """

    def __init__(self, body: TaskModel, n_classes: int) -> None:
        super().__init__()
        self.body = body
        body.head = nn.Identity()
        self.head = nn.Linear(body.embedding_dim, n_classes)

    def features(self, samples: Tensor) -> Tensor:
        """Return the head's inputs, (n, D), without the dropout that the task model has in front of its own."""
        return self.body.features(samples)

    def forward(self, samples: Tensor) -> Tensor:
        """Return logits (n, C)."""
        return cast("Tensor", self.head(self.features(samples)))


class OwnSearchNet(nn.Module):
    """Ω_S as a network of the task model's architecture, trained from its first layer on.

    Args:
        body: An untrained task model, whose own head is not used.
        n_candidates: K.
        weights: As for `SearchNet`.
    """

    def __init__(self, body: TaskModel, n_candidates: int, weights: str = "softmax") -> None:
        super().__init__()
        self.body = body
        body.head = nn.Identity()
        self.weights = weights
        self.strategy_head = nn.Linear(body.embedding_dim, n_candidates)
        self.mixing_head = nn.Linear(body.embedding_dim, n_candidates)

    @property
    def stage_widths(self) -> list[int]:
        """Widths of what `forward` returns as stages; one, the embedding, where the backbone has no stages."""
        return stage_widths(self.body) if has_stages(self.body) else [self.body.embedding_dim]

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return log W (n, K), Θ (n, K), and the pooled outputs of the backbone's stages, (n, width) each."""
        if has_stages(self.body):
            with pooled_stages(self.body) as stages:
                hidden = self.body.features(samples)
        else:
            hidden = self.body.features(samples)
            stages = [hidden]
        return log_trusts(self.strategy_head(hidden), self.weights), self.mixing_head(hidden), stages
