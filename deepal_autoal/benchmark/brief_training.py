"""Trainings that are cut short, and what they would have taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deepal_autoal.measure import Stopwatch
from deepal_autoal.training import LabeledData, TrainerProtocol, UnlabeledData

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal.fitted import FittedModel
    from deepal_autoal.recipe import Recipe


@dataclass(frozen=True)
class TrainingCost:
    """What a training takes: once, and for each step."""

    once: float
    step: float

    def of(self, n_steps: int) -> float:
        """Return the seconds of a training of so many steps."""
        return self.once + n_steps * self.step


@dataclass(frozen=True)
class Training:
    """A training that was cut short.

    Attributes:
        wanted: Its steps, had it not been.
        done: The steps it did.
        seconds: What those took.
    """

    wanted: int
    done: int
    seconds: float

    def whole(self, cost: TrainingCost) -> float:
        """Return what it would have taken."""
        return self.seconds + (self.wanted - self.done) * cost.step


class BriefTrainer:
    """Trains as another trainer does, but stops after some steps.

    It does not tell its progress: a query's own steps are not to be mixed with those of trainings inside it.

    Args:
        trainer: The trainer.
        recipe: Its settings, where a training is given none.
        n_steps: The most steps of a training.

    Attributes:
        trainings: What was trained so far.
    """

    def __init__(self, trainer: TrainerProtocol, recipe: Recipe, n_steps: int) -> None:
        self._trainer = trainer
        self._recipe = recipe
        self._n_steps = n_steps
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
        """Return a model that learnt for a few steps; see `Trainer.fit`."""
        whole = recipe or self._recipe
        n = len(labeled.indices)
        wanted = whole.n_batches(n) * whole.n_epochs(n)
        brief = replace(whole, compile=False)
        if wanted > self._n_steps:
            n = min(n, max(2, self._n_steps * whole.train_batch_size))
            labeled = LabeledData(labeled.inputs, labeled.indices[:n], labeled.labels[:n])
            n_batches = whole.n_batches(n)
            brief = replace(brief, epochs=max(1, self._n_steps // n_batches), min_steps=0)
        with Stopwatch(labeled.inputs.device) as watch:
            fitted = self._trainer.fit(labeled, unlabeled, seed=seed, initial_state=initial_state, recipe=brief)
        # One that was not cut short may stop by itself: that is what it takes, then.
        done = brief.n_batches(n) * brief.n_epochs(n) if wanted > self._n_steps else wanted
        self.trainings.append(Training(wanted, done, watch.seconds))
        fitted.recipe = whole  # strategies make their own of it
        return fitted
