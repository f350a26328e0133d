"""Training against a critic that tells unlabeled from labeled samples by their embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn import functional as F

from deepal_autoal import Objective, augment, without_compiler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from deepal_autoal import TaskModel, UnlabeledData

# Decay of the moving average of the critic's estimate.
_DECAY = 0.9
_WIDTH = 512


@dataclass(frozen=True)
class Settings:
    """`WAAL` describes the options."""

    alpha: float
    penalty: float
    critic_learning_rate: float
    critic_steps: int


class Critic(nn.Module):
    """Scores embeddings by how much they look unlabeled, in (0, 1): D → 512 → 512 → 1, as in the released code."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features, _WIDTH),
            nn.ReLU(),
            nn.Linear(_WIDTH, _WIDTH),
            nn.ReLU(),
            nn.Linear(_WIDTH, 1),
            nn.Sigmoid(),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return scores (n,) of embeddings (n, D)."""
        return cast("Tensor", self.layers(embeddings).squeeze(1))


class UnlabeledStream:
    """Batches of unlabeled samples, augmented and normalized, without end; every epoch has a new order.

    Args:
        data: The samples, at least one.
        augmentation: Names of the augmentations, the recipe's.
        seed: Seed of orders and augmentations.
    """

    def __init__(self, data: UnlabeledData, augmentation: Sequence[str], seed: int) -> None:
        self._inputs, self._augmentation = data.inputs, augmentation
        device = data.inputs.device
        self._generator = torch.Generator(device).manual_seed(seed)
        self._indices = torch.tensor(data.indices, device=device)
        self._waiting = self._indices[:0]

    def next(self, n: int) -> Tensor:
        """Return the next n model inputs."""
        while len(self._waiting) < n:
            order = torch.randperm(len(self._indices), generator=self._generator, device=self._indices.device)
            self._waiting = torch.cat([self._waiting, self._indices[order]])
        drawn, self._waiting = self._waiting[:n], self._waiting[n:]
        return self._inputs.normalize(augment(self._inputs.raw(drawn), self._augmentation, self._generator))


class WassersteinObjective(Objective):
    """Cross-entropy + α · (E_U D - γ E_L D), against a critic D that maximizes the difference.

    The critic's steps come before the model's, on the same embeddings, without gradients to the model. Embeddings of
    both kinds pass through the model together, so that BatchNorm sees the mixture, as afterwards. The critic computes
    in float32.

    Args:
        model: The task model.
        settings: See `WAAL`.
        stream: The unlabeled samples; without them it is the plain objective.
        gamma: γ.
    """

    def __init__(
        self, model: TaskModel, settings: Settings, stream: UnlabeledStream | None = None, gamma: float = 1.0
    ) -> None:
        super().__init__(model)
        self.critic = Critic(model.embedding_dim)
        # Its own optimizer trains it; the model's must not.
        self.critic.requires_grad_(False)
        self.settings = settings
        self.stream = stream
        self.gamma = gamma
        self._optimizer: torch.optim.Optimizer | None = None
        self._recent: Tensor | float = 0.0
        self._recent_weight = 0.0

    def forward(self, inputs: Tensor, labels: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """Return the logits (n, n_classes) and the loss of one step (see `Objective.forward`)."""
        if self.stream is None:
            return super().forward(inputs, labels, progress)
        features = self.model.features(torch.cat([inputs, self.stream.next(len(inputs))]))
        logits: Tensor = self.model.head(self.model.dropout(features[: len(inputs)]))
        with torch.autocast(inputs.device.type, enabled=False):
            labeled, unlabeled = features.float().chunk(2)
            for _ in range(self.settings.critic_steps):
                self._improve_critic(labeled.detach(), unlabeled.detach())
            difference = self.difference(labeled, unlabeled)
            self._recent = _DECAY * self._recent + difference.detach()
            self._recent_weight = _DECAY * self._recent_weight + 1.0
            return logits, F.cross_entropy(logits.float(), labels) + self.settings.alpha * difference

    def difference(self, labeled: Tensor, unlabeled: Tensor) -> Tensor:
        """Return E_U D - γ E_L D of embeddings (n, D) each."""
        return cast("Tensor", self.critic(unlabeled).mean() - self.gamma * self.critic(labeled).mean())

    def training_metrics(self) -> dict[str, float]:
        """Return ``wasserstein``, a moving average of the critic's difference over the last steps, about ten."""
        return {"wasserstein": float(self._recent) / self._recent_weight} if self._recent_weight else {}

    def _improve_critic(self, labeled: Tensor, unlabeled: Tensor) -> None:
        if self._optimizer is None:  # not in the constructor: the module is moved to its device later
            fused = labeled.device.type in ("cpu", "cuda")
            adam = without_compiler(torch.optim.Adam)
            self._optimizer = adam(self.critic.parameters(), self.settings.critic_learning_rate, fused=fused)
        self.critic.requires_grad_(True)
        penalty = gradient_penalty(self.critic, labeled, unlabeled)
        loss = self.settings.penalty * penalty - self.difference(labeled, unlabeled)
        torch.autograd.backward(loss, inputs=list(self.critic.parameters()))
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.critic.requires_grad_(False)


def gradient_penalty(critic: nn.Module, labeled: Tensor, unlabeled: Tensor) -> Tensor:
    """Return the mean of (‖∇D‖ - 1)² over both kinds of embeddings, (n, D) each, and points between their pairs.

    Gulrajani et al. 2017; the points are uniform on each line, by torch's global generator.
    """
    shares = torch.rand(len(labeled), 1, device=labeled.device)
    between = unlabeled + shares * (labeled - unlabeled)
    points = torch.cat([between, unlabeled, labeled]).requires_grad_()
    (gradients,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    # The norm has no derivative at 0.
    lengths = (gradients.square().sum(dim=1) + torch.finfo(gradients.dtype).tiny).sqrt()
    return (lengths - 1.0).square().mean()
