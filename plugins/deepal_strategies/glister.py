"""GLISTER: pseudo-labeled samples whose gradient steps lower a validation loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from deepal_autoal import DeepALError, Strategy, top_scores
from deepal_strategies.shared.option_checks import check_at_least, check_positive
from deepal_strategies.shared.scaling import unit_of
from deepal_strategies.shared.validation import labels_of, refuse_another_set, split_labeled

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import PoolView, QueryContext


class GLISTER(Strategy):
    """Greedily the gradients that align with that of a validation loss (Killamsetty et al., AAAI 2021).

    The online form for active learning. A candidate's gradient is that of the cross-entropy of its predicted label
    with respect to the last layer, g = (r, r ⊗ h) with r = p - onehot(argmax p) and the embedding h. The validation
    loss is that after one virtual step with the labeled samples' gradients; each pick is the candidate with the
    largest g·g_V, and is added to the step. As the step is one of the last layer, the first picks decide most of a
    large batch. The regularized forms are not here.

    The validation samples are the run's validation set (``--validation``). Without one, they are the labeled samples
    and, with their predicted labels, the candidates. Given ``validation``, they are that many random labeled samples,
    and all gradients are those of a further model, which is trained without them: one that has learned them has no
    validation loss to speak of.

    The round's record has the pool indices of the ``validation`` samples, if they were drawn, and the mean validation
    loss after the first and the last step.

    Args:
        validation: Number of labeled samples that judge; 0 for all samples, or the run's validation set.
        learning_rate: η of the virtual steps; None for that of the run's recipe.

    Raises:
        InputError: If an option is out of range, or ``validation`` leaves too few labeled samples, or is given beside
            the run's validation set.
    """

    requires = frozenset({"probabilities", "embeddings", "gradients"})

    def __init__(self, validation: int = 0, learning_rate: float | None = None) -> None:
        check_at_least("validation", validation, 0)
        if learning_rate is not None:
            check_positive("learning_rate", learning_rate)
        self.validation = validation
        self.learning_rate = learning_rate

    def query(self, context: QueryContext, batch_size: int) -> NDArray[np.int64]:
        """Return the batch, in the order in which it was chosen."""
        rate = context.model.recipe.learning_rate if self.learning_rate is None else self.learning_rate
        seen = context
        judged: PoolView = context.candidates
        if context.validation is not None:
            refuse_another_set(self.validation)
            judged, labels = context.validation, context.validation.labels
        elif self.validation:
            known, validation = split_labeled(context, self.validation)
            with context.timed("training"):
                model = context.fit(known, "without validation")
            seen = context.rebuild(labeled=known, model=model, purpose="without validation")
            judged = seen.rebuild(candidates=validation, purpose="validation").candidates
            labels = labels_of(context.labeled, validation)
            context.report(validation=validation)
        else:
            labels = judged.logits().argmax(dim=1)
        parts = [ValidationPart(judged.logits(), judged.embeddings(), labels)]
        if judged is context.candidates and len(seen.labeled):
            parts.append(ValidationPart(seen.labeled.logits(), seen.labeled.embeddings(), seen.labeled.labels))
        residuals, embeddings = seen.candidates.gradient_factors()
        unit_of(embeddings, residuals)  # refuses what is not finite
        known_residuals = seen.labeled.probabilities() - F.one_hot(seen.labeled.labels, context.n_classes)
        step = (known_residuals, seen.labeled.embeddings())
        positions, losses = greedy(residuals, embeddings, step, parts, batch_size, rate, context.generator)
        context.report(validation_losses=losses)
        queried: NDArray[np.int64] = context.candidates.indices[positions]
        return queried


class ValidationPart:
    """Validation samples, whose logits follow the virtual steps of the last layer.

    Args:
        logits: (V, C).
        embeddings: (V, D).
        labels: (V,).
    """

    def __init__(self, logits: Tensor, embeddings: Tensor, labels: Tensor) -> None:
        self.logits, self.embeddings, self.labels = logits, embeddings, labels

    def __len__(self) -> int:
        return len(self.labels)

    def gradient(self) -> tuple[Tensor, Tensor]:
        """Return the gradient of the summed cross-entropy with respect to the bias (C,) and the weights (C, D)."""
        residuals = self.logits.softmax(dim=1)
        residuals[torch.arange(len(self.labels), device=self.labels.device), self.labels] -= 1
        return residuals.sum(dim=0), residuals.T @ self.embeddings

    def step(self, residuals: Tensor, embeddings: Tensor, learning_rate: float) -> None:
        """Take a step with the summed gradients of samples, given by their factors (n, C) and (n, D)."""
        bias, weights = residuals.sum(dim=0), residuals.T @ embeddings
        self.logits = self.logits - learning_rate * (self.embeddings @ weights.T + bias)

    def loss(self) -> float:
        """Return the summed cross-entropy."""
        return F.cross_entropy(self.logits, self.labels, reduction="sum").item()


def greedy(
    residuals: Tensor,
    embeddings: Tensor,
    step: tuple[Tensor, Tensor],
    parts: list[ValidationPart],
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator,
) -> tuple[NDArray[np.int64], list[float]]:
    """Return the positions of the batch, int64 (b,), and the mean validation loss after the first and the last step.

    Args:
        residuals: r of the candidates, (N, C).
        embeddings: h of the candidates, (N, D).
        step: r (L, C) and h (L, D) of the labeled samples.
        parts: The validation samples; their logits are changed.
        batch_size: b.
        learning_rate: η.
        generator: Breaks ties.

    Raises:
        DeepALError: If the steps diverge.
    """
    n_validation = sum(map(len, parts))
    chosen: list[int] = []
    losses: list[float] = []
    for _ in range(batch_size):
        for part in parts:
            part.step(*step, learning_rate)
        losses = [*losses[:1], sum(part.loss() for part in parts) / n_validation]
        if not np.isfinite(losses[-1]):
            raise DeepALError("glister's virtual steps diverge: use a lower learning_rate")
        gradients = [part.gradient() for part in parts]
        bias, weights = (sum(values) / n_validation for values in zip(*gradients, strict=True))
        gains = (residuals * (embeddings @ weights.T + bias)).sum(dim=1)
        gains[chosen] = -torch.inf
        chosen.append(int(top_scores(gains, 1, generator)))
        step = (residuals[chosen[-1:]], embeddings[chosen[-1:]])
    return np.array(chosen, dtype=np.int64), losses
