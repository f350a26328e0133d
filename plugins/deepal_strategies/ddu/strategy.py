"""The DDU strategy: the lowest feature-space density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepal_autoal import ScoringStrategy
from deepal_strategies.ddu.backbone import SensitiveObjective
from deepal_strategies.ddu.density import ClassGaussians
from deepal_strategies.shared.option_checks import check_positive

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext, TaskModel, Trainer, TrainerProtocol


class DDU(ScoringStrategy):
    """Lowest density of the embedding under one Gaussian per class (Mukhoti et al., CVPR 2023).

    The Gaussians, with full covariances, are fitted to the labeled samples' embeddings (see `ClassGaussians`).
    Density identifies unfamiliar samples only if the network is smooth and sensitive: every convolution and linear
    layer of the backbone has at most the norm ``coefficient``, activations leak, and residual blocks average where
    they would project. Normalization layers are not changed, as in the authors' code. A backbone without layers, such
    as that of ``linear``, is not changed.

    Args:
        coefficient: Greatest norm of a layer; None leaves the network and its training unchanged.

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
        """Whether a coefficient is set."""
        return self.coefficient is not None

    def wrap_trainer(self, trainer: Trainer) -> TrainerProtocol:
        """Return a trainer of smooth and sensitive networks, or the same trainer without a coefficient."""
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
