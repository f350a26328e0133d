"""Training a task model from labeled data."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import torch
from torch import nn

from deepal_autoal.errors import DeepALError, InputError
from deepal_autoal.numerics.devices import bounded_memory
from deepal_autoal.numerics.precision import autocast, clean_autograd_state, exact_gradients, place, resolve_precision
from deepal_autoal.numerics.random_streams import global_torch_seed, stream_seed, torch_stream
from deepal_autoal.training.augmentation import augment
from deepal_autoal.training.averaging import AveragedWeights
from deepal_autoal.training.fitted_model import FittedModel
from deepal_autoal.training.inputs import Inputs
from deepal_autoal.training.objective import Objective
from deepal_autoal.training.optimizers import make_optimizer, set_learning_rate
from deepal_autoal.training.recipe import FEWEST_EPOCHS, Recipe
from deepal_autoal.training.solved import SolvedModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal.training.task_model import TaskModel

# Labeled samples that take no more than this are gathered once instead of for every batch.
_GATHERED_BYTES = 1 << 30
# Seconds between two reports of progress within an epoch.
_REPORTED_EVERY = 1.0

Loaded = TypeVar("Loaded", bound=nn.Module)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LabeledData:
    """Samples with labels.

    Attributes:
        inputs: Source of the samples.
        indices: Their indices, int64 (M,).
        labels: Their classes, int64 (M,).
    """

    inputs: Inputs
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]

    def part(self, rows: NDArray[Any]) -> LabeledData:
        """Return some of the samples, by position (repeats allowed) or by mask."""
        return LabeledData(self.inputs, self.indices[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class UnlabeledData:
    """Samples without labels, for strategies that train on them too.

    Attributes:
        inputs: Source of the samples.
        indices: Their indices, int64 (N,).
    """

    inputs: Inputs
    indices: NDArray[np.int64]


class TrainerProtocol(Protocol):
    """What a strategy's ``wrap_trainer`` returns."""

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
        """Return a trained model (see `Trainer.fit`)."""


class Trainer:
    """Trains a new model in every `fit`.

    Args:
        build: Returns a model, initialized from torch's global generator.
        recipe: Training settings.
        device: Where to train.
        objective: Wraps a new model in the objective that training minimizes.
    """

    def __init__(
        self,
        build: Callable[[], TaskModel],
        recipe: Recipe,
        device: torch.device,
        objective: Callable[[TaskModel], Objective] = Objective,
    ) -> None:
        self.build = build
        self.recipe = recipe
        self.device = device
        self.objective = objective

    def with_objective(self, objective: Callable[[TaskModel], Objective]) -> Trainer:
        """Return a copy with another objective, which is all that most ``wrap_trainer`` methods need."""
        other = copy.copy(self)
        other.objective = objective
        return other

    def new_objective(self, seed: int = 0) -> Objective:
        """Return a new, untrained model within its objective, without touching torch's global generator."""
        with global_torch_seed(seed, self.device):
            objective = self.objective(self.build())
        if type(objective) is not Objective and next(objective.model.parameters(), None) is None:
            raise InputError(
                "this strategy changes what training minimizes, but the model has no weights that gradient steps could "
                "train; choose another --model, such as mlp"
            )
        return objective

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
        """Return a model trained on the labeled data; the unlabeled data is for trainers that wrap this one.

        Initialization, data order, augmentation and dropout have their own random streams, so the same seed gives the
        same initial weights whatever is labeled. Torch's global generator is left unchanged.

        Args:
            labeled: At least one sample; classes may be missing.
            unlabeled: Not used here.
            seed: Seed of everything random, at least 0.
            initial_state: Weights to start from (a warm start) instead of new ones.
            recipe: Training settings to use instead of the trainer's.
            progress: Called after every epoch, and in long ones every second or so, with the steps done and the total
                number of steps.

        Raises:
            InputError: If there are no labels, or they are not classes of the model.
            DeepALError: If the loss becomes NaN or infinite, or the device's memory does not suffice.
        """
        recipe = recipe or self.recipe
        with bounded_memory("training", _smaller(recipe)):
            return self._fit(labeled, seed, initial_state, recipe, progress)

    def _fit(
        self,
        labeled: LabeledData,
        seed: int,
        initial_state: Mapping[str, Tensor] | None,
        recipe: Recipe,
        progress: Callable[[int, int], None] | None,
    ) -> FittedModel:
        precision = resolve_precision(recipe.precision, self.device, labeled.inputs.input_shape)
        objective = self.new_objective(stream_seed(seed, "init"))
        _check_data(labeled, objective.model.n_classes, recipe)
        if initial_state is not None:
            objective.model.load_state_dict(initial_state)
        objective = place(objective, self.device).train()
        if isinstance(objective.model, SolvedModel) and type(objective) is Objective:
            with clean_autograd_state(self.device), torch.no_grad():
                inputs = labeled.inputs.batch(labeled.indices)
                labels = torch.as_tensor(labeled.labels, device=self.device)
                solved = objective.model.solve(inputs, labels, seed=seed, progress=progress)
            return FittedModel(
                objective.model, device=self.device, recipe=recipe, seed=seed, metrics=solved, precision="float32",
                objective=objective,
            )  # fmt: skip
        if recipe.compile:
            objective.model.backbone.compile()
        if len(labeled.indices) == 1:
            # A single sample has no variance: keep the statistics unchanged.
            for part in objective.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()
        with (
            global_torch_seed(stream_seed(seed, "dropout"), self.device),
            exact_gradients(objective, precision, self.device),
            _compiling(recipe),
        ):
            metrics = self._optimize(objective, labeled, recipe, precision, seed, progress)
        return FittedModel(
            objective.model, device=self.device, recipe=recipe, seed=seed, metrics=metrics, precision=precision,
            objective=objective,
        )  # fmt: skip

    def _optimize(
        self,
        objective: Objective,
        labeled: LabeledData,
        recipe: Recipe,
        precision: str,
        seed: int,
        progress: Callable[[int, int], None] | None,
    ) -> dict[str, float]:
        n, inputs = len(labeled.indices), labeled.inputs
        order = torch_stream(seed, "order", device=self.device)
        changes = torch_stream(seed, "augmentation", device=self.device)
        labels = torch.as_tensor(labeled.labels, device=self.device)
        read = _reader(labeled)
        optimizer = make_optimizer(objective.parameters(), recipe, self.device)
        averages = AveragedWeights(objective, recipe.averaging) if recipe.averaging else None
        n_batches, n_epochs = recipe.n_batches(n), recipe.n_epochs(n)
        total = n_batches * n_epochs
        metrics: dict[str, float] = {}
        step, reported_at = 0, time.monotonic()
        for epoch in range(1, n_epochs + 1):
            # Summed on the device: reading a number back at every step would stall it.
            loss_sum = torch.zeros((), device=self.device)
            n_correct = torch.zeros((), dtype=torch.int64, device=self.device)
            for rows in torch.randperm(n, generator=order, device=self.device).tensor_split(n_batches):
                batch = inputs.normalize(augment(read(rows), recipe.augmentation, changes))
                set_learning_rate(optimizer, recipe, step / total)
                with autocast(precision, self.device):
                    logits, loss = objective(batch, labels[rows], step / total)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                if averages is not None:
                    averages.update()
                step += 1
                loss_sum += loss.detach() * len(rows)
                n_correct += (logits.detach().argmax(dim=1) == labels[rows]).sum()
                if progress is not None and time.monotonic() - reported_at > _REPORTED_EVERY:
                    reported_at = time.monotonic()
                    progress(step, total)
            loss, correct = torch.stack([loss_sum.double(), n_correct.double()]).tolist()  # the epoch's only wait
            metrics = {"epochs": epoch, "steps": step, "train_loss": loss / n, "train_accuracy": correct / n}
            if not math.isfinite(metrics["train_loss"]):
                raise _diverged(
                    f"the loss is {metrics['train_loss']} in epoch {epoch} of {n_epochs}", recipe, precision
                )
            if progress is not None:
                reported_at = time.monotonic()
                progress(step, total)
            if recipe.stop_at_full_accuracy and epoch >= FEWEST_EPOCHS and metrics["train_accuracy"] == 1.0:
                break
        if averages is not None:
            averages.write()
        if not torch.stack([parameter.isfinite().all() for parameter in objective.parameters()]).all():
            raise _diverged("there are NaN or infinite weights after the last step", recipe, precision)
        metrics.update(objective.training_metrics())
        logger.debug("trained on %d samples: %s", n, metrics)
        return metrics


@contextmanager
def _compiling(recipe: Recipe) -> Iterator[None]:
    """Turn an error of torch's compiler into one line."""
    try:
        yield
    except Exception as error:
        if not recipe.compile or not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"--compile: torch cannot compile this model here ({reason}); on a CPU it needs a C++ compiler. Leave "
            "--compile out"
        ) from error


def rebuilding_trainer(trainer: TrainerProtocol, plain: Trainer) -> Trainer:
    """Return a trainer that can rebuild the models of ``trainer`` from their weights.

    That is ``trainer`` itself if it has ``new_objective``, as `Trainer` has; else the plain one, whose architecture
    and objective ``trainer`` must then have kept.
    """
    return cast("Trainer", trainer) if hasattr(trainer, "new_objective") else plain


def load_weights(module: Loaded, state: Mapping[str, Tensor]) -> Loaded:
    """Load the saved weights of an objective or of its model, and return the module.

    Raises:
        InputError: If they do not fit.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"the saved weights do not fit the model that this strategy trains ({' '.join(str(error).split())}); a "
            "custom trainer that changes the network or objective needs a method new_objective()"
        ) from error
    return module


def _diverged(what: str, recipe: Recipe, precision: str) -> DeepALError:
    advice = f"lower --learning-rate (it is {recipe.learning_rate:g})"
    if precision != "float32":
        advice += ", or use --precision float32"
    return DeepALError(f"training diverged: {what}; {advice}")


def _smaller(recipe: Recipe) -> str:
    """Return what to make smaller where a training step needs too much memory."""
    return (
        f"lower --train-batch-size (it is {recipe.train_batch_size}), choose a smaller --model, or bring images to a "
        "smaller --image-size"
    )


def _check_data(labeled: LabeledData, n_classes: int, recipe: Recipe) -> None:
    if recipe.augmentation and len(labeled.inputs.input_shape) == 1:
        raise InputError(f"augmentation {', '.join(recipe.augmentation)} is for images; leave it out for vectors")
    if not len(labeled.indices):
        raise InputError("there is nothing to train on: give at least one labeled sample")
    if len(labeled.labels) != len(labeled.indices):
        raise InputError(f"{len(labeled.indices)} samples have {len(labeled.labels)} labels; give each sample one")
    low, high = int(labeled.labels.min()), int(labeled.labels.max())
    if low < 0 or high >= n_classes:
        raise InputError(
            f"labels range from {low} to {high}; a model of {n_classes} classes takes 0 to {n_classes - 1}"
        )


def _reader(labeled: LabeledData) -> Callable[[Tensor], Tensor]:
    """Return a function that maps positions in the labeled set, on the device, to samples before normalization."""
    inputs = labeled.inputs
    indices = torch.tensor(labeled.indices, device=inputs.device)
    one = inputs.raw(indices[:1])
    if one.nbytes * len(indices) > _GATHERED_BYTES:
        return lambda rows: inputs.raw(indices[rows])
    gathered = inputs.raw(indices)
    return lambda rows: gathered[rows]


__all__ = ["LabeledData", "Recipe", "Trainer", "TrainerProtocol", "UnlabeledData"]
