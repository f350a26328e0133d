"""The LPL strategy: the highest predicted losses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepal_autoal import QueryError, Strategy, top_scores
from deepal_strategies.lpl.objective import LossPredictionObjective, ranking_accuracy
from deepal_strategies.shared.option_checks import check_at_least, check_positive
from deepal_strategies.shared.row_blocks import LPL_INPUTS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import QueryContext, TaskModel, Trainer, TrainerProtocol


# Labeled samples of which all pairs are compared for the report.
_COMPARED = 1000


class LPL(Strategy):
    """Highest loss predicted by a module that is trained with the task model (Yoo & Kweon, CVPR 2019).

    The module reads the outputs of the backbone's stages and learns, from scratch in every round, to order pairs of
    samples by their cross-entropy. Only a random subset of the pool is ranked, so the batch does not consist of
    near-duplicates; the subset is never smaller than the batch. The recorded training loss contains the module's.

    The round's report shows what the module learned: ``hinge_loss``, the mean of its loss in the last steps of the
    training (about ten; ξ if it learned nothing), and ``ranking_accuracy_on_labeled``, the share of pairs of labeled
    samples, at most 1,000 random ones, whose losses it ranks correctly: the samples that it was trained on, without
    augmentation, so candidates are ranked less well.

    Args:
        margin: ξ, by which the predictions of a pair should differ.
        weight: λ, weight of the module's loss relative to the task's.
        width: Width of the module's layer for each stage.
        detach_after: Share of the training's steps after which the module's loss no longer reaches the backbone
            (in the paper, after 120 of 200 epochs); 1 = never.
        subset: Size of the random subset.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"inputs"})

    def __init__(
        self,
        margin: float = 1.0,
        weight: float = 1.0,
        width: int = 128,
        detach_after: float = 0.6,
        subset: int = 10_000,
    ) -> None:
        check_positive("margin", margin)
        check_at_least("weight", weight, 0)
        check_at_least("width", width, 1)
        check_at_least("detach_after", detach_after, 0)
        check_at_least("subset", subset, 1)
        self.margin = margin
        self.weight = weight
        self.width = width
        self.detach_after = detach_after
        self.subset = subset

    def wrap_trainer(self, trainer: Trainer) -> TrainerProtocol:
        """Return a trainer whose models learn to predict their losses too."""

        def objective(model: TaskModel) -> LossPredictionObjective:
            return LossPredictionObjective(model, self.margin, self.weight, self.width, self.detach_after)

        return trainer.with_objective(objective)

    def query(self, context: QueryContext, batch_size: int) -> NDArray[np.int64]:
        """Return the ``batch_size`` samples with the highest predicted loss in the random subset."""
        n_candidates = len(context.candidates)
        n_subset = min(n_candidates, max(self.subset, batch_size))
        positions = np.sort(context.rng.choice(n_candidates, n_subset, replace=False))
        predicted = self._predict(context, positions)
        context.report(
            hinge_loss=context.model.metrics.get("hinge_loss"),
            ranking_accuracy_on_labeled=self._ranking_accuracy(context),
        )
        chosen = top_scores(predicted, batch_size, context.generator).cpu().numpy()
        queried: NDArray[np.int64] = context.candidates.indices[positions[chosen]]
        return queried

    def _ranking_accuracy(self, context: QueryContext) -> float | None:
        """Return the module's ranking accuracy on the labeled samples, or on random ones of them if they are many."""
        objective, labeled = self._objective(context), context.labeled
        rng = np.random.default_rng(context.stream_seed("ranking accuracy"))
        compared = np.sort(rng.choice(len(labeled), min(_COMPARED, len(labeled)), replace=False))
        predicted, losses = torch.empty((2, len(compared)), device=context.device)
        with _evaluating(context):
            for rows in LPL_INPUTS.blocks(len(compared)):
                inputs, labels = labeled.inputs(compared[rows]), labeled.labels[compared[rows]]
                predicted[rows], losses[rows] = objective.predicted_and_true_losses(inputs, labels)
        return ranking_accuracy(predicted, losses)

    def _objective(self, context: QueryContext) -> LossPredictionObjective:
        objective = context.model.objective
        if not isinstance(objective, LossPredictionObjective):
            raise QueryError(
                f"{self} needs a model that was trained to predict its losses; use it as a run's own strategy, "
                "not as a candidate of another"
            )
        return objective

    def _predict(self, context: QueryContext, positions: NDArray[np.int64]) -> Tensor:
        objective = self._objective(context)
        predicted = torch.empty(len(positions), device=context.device)
        with _evaluating(context):
            for rows in LPL_INPUTS.blocks(len(positions)):
                predicted[rows] = objective.predicted_losses(context.candidates.inputs(positions[rows]))
        if predicted.isnan().any():
            raise QueryError(
                f"{self}: predicted losses are NaN for {int(predicted.isnan().sum())} samples; train the model at a "
                "lower learning rate"
            )
        return predicted


@contextmanager
def _evaluating(context: QueryContext) -> Iterator[None]:
    in_bfloat16 = context.model.precision == "bfloat16"
    with torch.no_grad(), torch.autocast(context.device.type, dtype=torch.bfloat16, enabled=in_bfloat16):
        yield
