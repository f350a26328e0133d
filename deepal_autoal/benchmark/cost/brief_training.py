"""Trainings that are cut short, and the time they would have taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deepal_autoal.measuring.resources import Stopwatch
from deepal_autoal.training.trainer import LabeledData, TrainerProtocol, UnlabeledData

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal.training.fitted_model import FittedModel
    from deepal_autoal.training.recipe import Recipe


@dataclass(frozen=True)
class TrainingCost:
    """Seconds of a training: once, and for each step."""

    once: float
    step: float

    def of(self, n_steps: int) -> float:
        """Return the seconds of a training of `n_steps` steps."""
        return self.once + n_steps * self.step


@dataclass(frozen=True)
class Training:
    """A training that was cut short.

    Attributes:
        wanted: The steps of the whole training.
        done: The steps that were done.
        seconds: The seconds they took.
    """

    wanted: int
    done: int
    seconds: float

    def whole(self, cost: TrainingCost) -> float:
        """Return the seconds of the whole training."""
        return self.seconds + (self.wanted - self.done) * cost.step


class BriefTrainer:
    """Trains like another trainer, but stops after some steps.

    It does not report progress: a query's own steps must not be mixed with those of trainings inside it.

    Args:
        trainer: The trainer.
        recipe: The settings of trainings that are given none.
        n_steps: The maximum number of steps of a training.
        is_solved: Whether it fits solved models: each whole training is then one step.

    Attributes:
        trainings: The trainings so far.
    """

    def __init__(self, trainer: TrainerProtocol, recipe: Recipe, n_steps: int, is_solved: bool = False) -> None:
        self._trainer = trainer
        self._recipe = recipe
        self._n_steps = n_steps
        self._is_solved = is_solved
        self.trainings: list[Training] = []

    def fit(
        self,
        labeled: LabeledData,
        unlabeled: UnlabeledData,
        *,
        seed: int,
        initial_state: Mapping[str, Tensor] | None = None,
        recipe: Recipe | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> FittedModel:
        """Return a model trained for a few steps; see `Trainer.fit`."""
        whole = recipe or self._recipe
        n = len(labeled.indices)
        wanted = 1 if self._is_solved else whole.n_batches(n) * whole.n_epochs(n)
        brief = replace(whole, compile=False)
        if wanted > self._n_steps:
            n = min(n, max(2, self._n_steps * whole.train_batch_size))
            labeled = LabeledData(labeled.inputs, labeled.indices[:n], labeled.labels[:n])
            n_batches = whole.n_batches(n)
            brief = replace(brief, epochs=max(1, self._n_steps // n_batches), min_steps=0)
        with Stopwatch(labeled.inputs.device) as watch:
            fitted = self._trainer.fit(labeled, unlabeled, seed=seed, initial_state=initial_state, recipe=brief)
        # A training that was not cut short may have stopped early; then its seconds are the whole cost.
        done = brief.n_batches(n) * brief.n_epochs(n) if wanted > self._n_steps else wanted
        self.trainings.append(Training(wanted, done, watch.seconds))
        fitted.recipe = whole  # strategies derive their own recipes from it
        return fitted
