"""What event hooks may read from a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from deepal_autoal.audit.advice import Advice
    from deepal_autoal.querying.strategy import Strategy
    from deepal_autoal.training.fitted_model import FittedModel
    from deepal_autoal.training.recipe import Recipe
    from deepal_autoal.training.task_model import TaskModel


class RunLearner(Protocol):
    """What hooks may read from a run's `ActiveLearner`."""

    @property
    def labeled_indices(self) -> NDArray[np.int64]:
        """Pool indices of the samples labeled so far, int64 (M,)."""

    @property
    def strategy(self) -> Strategy:
        """The strategy."""

    @property
    def fitted(self) -> FittedModel | None:
        """The model trained last, or None."""

    @property
    def recipe(self) -> Recipe:
        """How models are trained."""

    @property
    def device(self) -> torch.device:
        """The device that models are trained on."""

    def new_module(self) -> TaskModel:
        """Return an untrained task model."""

    def advise(self, batch_size: int, label_cost: float | None = None, value_per_point: float | None = None) -> Advice:
        """Return whether to label another batch; only in runs with an audit."""

    def predict(self, samples: Any) -> NDArray[np.int64]:
        """Return the classes of samples, int64 (n,)."""

    def predict_proba(self, samples: Any) -> NDArray[np.float32]:
        """Return the class probabilities of samples, float32 (n, C)."""


@runtime_checkable
class ActiveRun(Protocol):
    """A run in progress, as event hooks see it: everything but the learner is a copy."""

    @property
    def config(self) -> dict[str, Any]:
        """The resolved settings, as in ``config.json``."""

    @property
    def options(self) -> dict[str, Any]:
        """Values of the options that plugins registered, by name; None if not given."""

    @property
    def learner(self) -> RunLearner:
        """The run's own learner, with strategy, labels so far and trained model: read only."""

    @property
    def records(self) -> list[dict[str, Any]]:
        """One record for each finished round."""

    @property
    def metrics(self) -> dict[str, Any]:
        """Metrics of the model trained last: ``accuracy`` on the test split and training metrics; empty before."""

    @property
    def folder(self) -> Path | None:
        """The run folder, or None."""

    @property
    def stop_reason(self) -> str | None:
        """A plugin's reason to stop, or None."""

    @property
    def n_rounds(self) -> int:
        """How many queries were requested."""
