"""The part of a learner that trains task models: the pool's samples, the model, its recipe and its trainers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_autoal.errors import InputError, QueryError
from deepal_autoal.experiment.capabilities import leave_out_unable_candidates, require_capabilities, require_classes
from deepal_autoal.experiment.pool import Pool
from deepal_autoal.experiment.saved_learner import restored_model
from deepal_autoal.experiment.written_forms import WrittenForms
from deepal_autoal.isolation.blame import blaming
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.isolation.guards import guarded
from deepal_autoal.measuring.profile import section
from deepal_autoal.measuring.resources import memory_size
from deepal_autoal.models import build_model, resolve_model
from deepal_autoal.models.names import arguments_of
from deepal_autoal.numerics.arrays import as_array
from deepal_autoal.numerics.devices import resolve_device
from deepal_autoal.numerics.precision import clean_autograd_state, deterministic, resolve_precision
from deepal_autoal.numerics.softmax import softmax
from deepal_autoal.run_settings import whole_number
from deepal_autoal.strategies.factory import create_strategy
from deepal_autoal.strategies.given import StrategyLike
from deepal_autoal.training.fitted_model import FittedModel
from deepal_autoal.training.inputs import Inputs, Normalization
from deepal_autoal.training.recipe import Recipe
from deepal_autoal.training.scaling import resolve_scaling
from deepal_autoal.training.trainer import LabeledData, Trainer, TrainerProtocol, UnlabeledData, rebuilding_trainer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from deepal_autoal.training.task_model import TaskModel


class PoolTraining:
    """Trains a task model on the labels of a pool, and computes its outputs.

    Args and attributes are those of `ActiveLearner`, which adds what it asks for and what it was told.
    """

    def __init__(
        self,
        pool: Any,
        strategy: StrategyLike,
        n_classes: int | None,
        *,
        model: Any,
        recipe: Recipe | Mapping[str, Any] | None,
        seed: int,
        device: str | torch.device,
        members: ArrayLike | None,
        n_rounds: int | None,
        scaling: str,
        class_names: Sequence[str] | None,
        validation: tuple[ArrayLike, ArrayLike] | None,
        text_model: str | None,
        target: str | None,
    ) -> None:
        self.forms = WrittenForms(pool, n_classes, class_names, text_model, target)
        samples, n_classes, seed = self.forms.samples, self.forms.n_classes, whole_number("seed", seed)
        if seed < 0:
            raise InputError(f"seed {seed}: give a whole number of at least 0")
        self.strategy = create_strategy(strategy)
        self.n_classes = n_classes
        self.n_rounds = None if n_rounds is None else whole_number("n_rounds", n_rounds)
        if n_rounds is not None and n_rounds < 0:
            raise InputError(f"n_rounds {n_rounds}: give 0 or more, or None if it is not known")
        self.seed = seed
        self.device = resolve_device(device)
        rows = np.arange(len(samples)) if members is None else _checked_members(members, len(samples))
        _check_memory(n_classes, len(rows))
        self._pool = Pool(rows, n_classes)
        self._validation: Pool | None = None
        if validation is not None:
            self._validation = self._pool
            if not isinstance(validation, tuple | list) or len(validation) != 2 or np.ndim(validation[0]) != 1:
                raise InputError("validation: give pool indices (V,) and their labels (V,), as a pair")
            self._validation.add(validation[0], self.forms.numbers(validation[1]))
            if not len(self._validation.unlabeled):
                raise InputError("validation has all samples of the pool; leave some to learn from")
            self._pool = Pool(self._validation.unlabeled, n_classes)
        with section("normalization"):
            self._scaling = resolve_scaling(scaling, samples, self.forms.is_embeddings).name
            statistics = Normalization.fit(samples, None if members is None else rows, self._scaling)
        self._inputs = Inputs(samples, statistics, self.device)
        by_gradient = self.strategy.changes_training
        self.model_choice = resolve_model(
            model, self._inputs.input_shape, scaling=self._scaling, by_gradient=by_gradient
        )
        shape = self._inputs.input_shape
        if recipe is not None and not isinstance(recipe, Recipe | Mapping):
            raise InputError(f"recipe is {type(recipe).__name__}: give a Recipe, or changes by name, {{'epochs': 20}}")
        wanted = recipe if isinstance(recipe, Recipe) else Recipe.for_data(shape, **dict(recipe or {}))
        # Decided once: a run that is continued on another machine keeps its precision.
        precision = resolve_precision(wanted.precision, self.device, self._inputs.input_shape)
        self.recipe = replace(wanted, precision=precision)
        # Not a method: the trainer would then keep this object, and so the pool, in a cycle.
        plain = Trainer(partial(build_model, self.model_choice, shape, n_classes), self.recipe, self.device)
        self.strategy = leave_out_unable_candidates(self.strategy, self.model_name, lambda: self._untrained(plain))
        doing = "wrap_trainer"
        with guarded(self.strategy, doing), blaming(self.strategy, doing, own_errors=True):
            self._trainer = self.strategy.wrap_trainer(plain)
            if not callable(getattr(self._trainer, "fit", None)):
                raise QueryError(f"{self.strategy}: wrap_trainer returned {self._trainer!r}, which has no method fit")
        self._plain = plain
        self._rebuilding = rebuilding_trainer(self._trainer, plain)
        require_capabilities(self.strategy, self.model_name, lambda: self._untrained(self._rebuilding))
        require_classes(self.strategy, n_classes)

    @property
    def model_name(self) -> str:
        """Name of the task model."""
        return self.model_choice.name

    @property
    def normalization(self) -> Normalization:
        """The statistics of the pool that model inputs are normalized with."""
        return self._inputs.normalization

    @property
    def scaling(self) -> str:
        """How vectors are scaled: ``global``, ``feature``, ``l2`` or ``none``; ``channel`` for images."""
        return self._scaling

    def wrap_trainer(self, wrap: Callable[[TrainerProtocol], TrainerProtocol]) -> None:
        """From now on, train with the trainer that ``wrap`` returns; models are rebuilt as before."""
        self._trainer = wrap(self._trainer)

    @engine_call()
    def new_module(self) -> TaskModel:
        """Return an untrained task model, without touching torch's global generator."""
        return self._new_module(0)

    def _new_module(self, seed: int) -> TaskModel:
        return self._rebuilding.new_objective(seed).model

    def blaming_for(self, doing: str) -> AbstractContextManager[object]:
        """Return a context that blames errors on the strategy if it changes training, else on the model."""
        culprit: object = self.strategy
        if not self.strategy.changes_training:
            entry = arguments_of(self.model_choice)[0]
            if entry.provider.builtin:
                return nullcontext()  # our own bugs keep their traceback
            culprit = f"model {self.model_name!r} of {entry.provider}"
        stack = ExitStack()
        stack.enter_context(guarded(culprit, doing))
        stack.enter_context(blaming(culprit, doing, own_errors=True))
        return stack

    def _train(
        self,
        pool: Pool,
        seed: int,
        progress: Callable[[int, int], None] | None,
        start: FittedModel | None = None,
    ) -> FittedModel:
        """Return a model trained on a pool's labels, with warm starts from ``start``, if there is one."""
        labeled, unlabeled = self._data(pool)
        warm = start.module.state_dict() if self.recipe.warm_start and start is not None else None
        with deterministic(self.device), self.blaming_for("training"), clean_autograd_state(self.device):
            fitted = self._trainer.fit(labeled, unlabeled, seed=seed, initial_state=warm, progress=progress)
        if not isinstance(fitted, FittedModel):
            raise QueryError(f"{self.strategy}: its trainer's fit returned {type(fitted).__name__}, not a FittedModel")
        return fitted

    def _untrained(self, trainer: Trainer) -> TaskModel:
        with self.blaming_for("training"):
            return trainer.new_objective().model

    def _data(self, pool: Pool | None = None) -> tuple[LabeledData, UnlabeledData]:
        pool = self._pool if pool is None else pool
        labeled = pool.labeled
        if not len(labeled):
            raise InputError("there are no labels yet: give some with `tell` first")
        return LabeledData(self._inputs, labeled, pool.labels), UnlabeledData(self._inputs, pool.unlabeled)

    def _restored(self, state: Mapping[str, Any], seed: int) -> FittedModel:
        """Return a model from its saved weights, and the seed that it was trained with."""
        return restored_model(state, self._rebuilding, device=self.device, recipe=self.recipe, seed=seed)

    def _classify(
        self, model: FittedModel, indices: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the predicted classes of samples of the pool, and the probabilities of these classes."""
        with self.blaming_for("evaluation"), clean_autograd_state(self.device):
            logits = model.sweep(self._inputs, indices, logits_only=True)[0]
            top = softmax(logits).max(dim=1)
        return top.indices.cpu().numpy(), top.values.double().cpu().numpy()


def _check_memory(n_classes: int, n_samples: int) -> None:
    """Refuse a number of classes of which not even few samples' logits fit into memory, with what training adds."""
    needed = 32.0 * n_classes * min(n_samples, 1000)
    if needed > memory_size():
        raise InputError(
            f"n_classes is {n_classes}; models of so many classes need more than {needed / 2**30:.0f} GiB of memory: "
            "give the number of different labels"
        )


def _checked_members(members: ArrayLike, n_samples: int) -> NDArray[np.int64]:
    rows = as_array(members, "members")
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows) or len(np.unique(rows)) < len(rows):
        raise InputError("members must be distinct pool indices")
    if rows.min() < 0 or rows.max() >= n_samples:
        raise InputError(f"members must be pool indices from 0 to {n_samples - 1}: the pool has {n_samples} samples")
    return rows.astype(np.int64)
