"""The lowest feature-space density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepal_autoal import ScoringStrategy
from deepal_strategies.ddu.backbone import SensitiveObjective
from deepal_strategies.ddu.density import ClassGaussians
from deepal_strategies.options import check_positive

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext, TaskModel, Trainer, TrainerProtocol


class DDU(ScoringStrategy):
    """Lowest density of the embedding under one Gaussian a class (Mukhoti et al., CVPR 2023).

    The Gaussians, with full covariances, are fitted to the labelled samples' embeddings (see `ClassGaussians`).
    Density tells the unfamiliar only if the network is smooth and sensitive: every convolution and linear layer
    of the backbone has at most the norm ``coefficient``, activations leak, and residual blocks average where they
    would project. Normalisation layers are as they were, as in the authors' code. A backbone without layers, such
    as that of ``linear``, stays as it is.

    Args:
        coefficient: Greatest norm of a layer; None trains the network as it is, and fits Gaussians to that.

    Raises:
        InputError: If the coefficient is not positive.
    """

    requires = frozenset({"embeddings"})

    def __init__(self, coefficient: float | None = 3.0) -> None:
        if coefficient is not None:
            check_positive("coefficient", coefficient)
        self.coefficient = coefficient

    @property
    def changes_training(self) -> bool:
        """Whether there is a coefficient."""
        return self.coefficient is not None

    def wrap_trainer(self, trainer: Trainer) -> TrainerProtocol:
        """Return a trainer of smooth and sensitive networks, or the same one where there is no coefficient."""
        coefficient = self.coefficient
        if coefficient is None:
            return trainer

        def objective(model: TaskModel) -> SensitiveObjective:
            return SensitiveObjective(model, coefficient)

        return trainer.with_objective(objective)

    def score(self, context: QueryContext) -> Tensor:
        """Return the negative log density, float64 (N,), higher = less familiar."""
        labeled = context.labeled
        scores = -ClassGaussians(labeled.embeddings(), labeled.labels).log_density(context.candidates.embeddings())
        return scores.to(context.device, torch.float32 if context.device.type == "mps" else torch.float64)
