"""Outputs of fitted models: computed once per sample, cached, and shared by all strategies of a round."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepal_autoal.errors import DeepALError, InputError
from deepal_autoal.measuring.profile import section
from deepal_autoal.numerics.calibration import N_FOLDS, best_temperature, stratified_folds
from deepal_autoal.numerics.dropout_masks import dropout_masks
from deepal_autoal.numerics.precision import clean_autograd_state, place
from deepal_autoal.numerics.random_streams import numpy_stream, stream_seed, torch_stream
from deepal_autoal.numerics.row_blocks import DROPOUT_PASSES
from deepal_autoal.numerics.softmax import softmax
from deepal_autoal.training.solved import SolvedModel

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal.training.fitted_model import FittedModel
    from deepal_autoal.training.inputs import Inputs
    from deepal_autoal.training.recipe import Recipe
    from deepal_autoal.training.task_model import TaskModel
    from deepal_autoal.training.trainer import LabeledData, TrainerProtocol, UnlabeledData


# Fraction of the labels to which an ensemble member of a solved model is fitted: that of distinct samples in a
# bootstrap sample.
_MEMBERS_PART = 1 - math.exp(-1)


class RowStore:
    """Logits and embeddings by pool index; each sample passes through the model once.

    Rows are kept in the blocks in which they were computed, so asking for the same indices again, the common case,
    copies nothing.
    """

    def __init__(self, n_samples: int, compute: Callable[[NDArray[np.int64]], tuple[Tensor, ...]]) -> None:
        self._compute = compute
        self._block = np.full(n_samples, -1, dtype=np.int32)
        self._row = np.zeros(n_samples, dtype=np.int32)
        self._blocks: list[tuple[Tensor, ...]] = []
        self._versions: list[int] = []

    @property
    def is_damaged(self) -> bool:
        """Whether the rows were modified in place."""
        return self._versions != [tensor._version for block in self._blocks for tensor in block]

    def take(self, indices: NDArray[np.int64], column: int) -> Tensor:
        """Return the ``column``-th output's rows for ``indices``, in that order."""
        missing = indices[self._block[indices] < 0]
        if len(missing):
            missing = missing[np.sort(np.unique(missing, return_index=True)[1])]
            self._blocks.append(self._compute(missing))
            self._versions += [tensor._version for tensor in self._blocks[-1]]
            self._block[missing] = len(self._blocks) - 1
            self._row[missing] = np.arange(len(missing))
        owners, rows = self._block[indices], self._row[indices].astype(np.int64)
        if len(indices) and (owners == owners[0]).all():
            block: Tensor = self._blocks[owners[0]][column]
            if (rows == np.arange(rows[0], rows[0] + len(rows))).all():
                return block[rows[0] : rows[0] + len(rows)]
            return block[torch.as_tensor(rows, device=block.device)]
        first = self._blocks[0][column] if self._blocks else self._compute(indices)[column]
        result = first.new_empty((len(indices), *first.shape[1:]))
        for owner in np.unique(owners):
            positions = np.flatnonzero(owners == owner)
            block = self._blocks[owner][column]
            picked = block[torch.as_tensor(rows[positions], device=block.device)]
            result[torch.as_tensor(positions, device=block.device)] = picked
        return result


class ModelOutputs:
    """One fitted model's outputs for the samples of one pool.

    Args:
        model: The fitted model.
        inputs: The pool's samples and the evaluation transform.
        key: Key of the random streams.
        fit_member: Trains ensemble member 1, 2, ... (member 0 is ``model``) on the model's labeled set.
        held_out: Returns logits (n, C) and labels (n,) of labeled samples, from models trained without them.
        keeps_embeddings: Whether the first pass keeps the embeddings, which take more memory than everything else. If
            not, asking for them costs a second pass.
    """

    def __init__(
        self,
        model: FittedModel,
        inputs: Inputs,
        key: tuple[int | str, ...],
        fit_member: Callable[[int], FittedModel],
        held_out: Callable[[], tuple[Tensor, Tensor]],
        keeps_embeddings: bool = True,
    ) -> None:
        self.model = model
        self.inputs = inputs
        self._key = key
        self._fit_member = fit_member
        self._held_out = held_out
        self._temperature: float | None = None
        # Number of the first sample: others than the pool's have others, so their noise is not that of the pool's.
        self._first = 0
        # Not methods of this object, which the stores would then keep in a cycle.
        whole = RowStore(len(inputs), lambda indices: model.sweep(inputs, indices))
        self._rows = whole if keeps_embeddings else _logits_of(model, inputs)
        self._embeddings = whole
        self._members: list[RowStore] = []

    @property
    def is_damaged(self) -> bool:
        """Whether any kept output was modified in place."""
        return any(store.is_damaged for store in (self._rows, self._embeddings, *self._members))

    @section("outputs")
    def logits(self, indices: NDArray[np.int64]) -> Tensor:
        """Return logits, float32 (n, C)."""
        return self._rows.take(indices, 0)

    @section("outputs")
    def embeddings(self, indices: NDArray[np.int64]) -> Tensor:
        """Return embeddings (the input of dropout and classifier), float32 (n, D)."""
        return self._embeddings.take(indices, -1)

    @section("outputs")
    def temperature(self) -> float:
        """Return the temperature to divide logits by so that confidence matches accuracy (see `calibration`)."""
        if self._temperature is None:
            self._temperature = best_temperature(*self._held_out())
        return self._temperature

    @section("outputs")
    def mc_probabilities(self, indices: NDArray[np.int64], n_passes: int, first: int = 0) -> Tensor:
        """Return class probabilities of passes ``first`` ... ``n_passes`` - 1, float32 (passes, n, C).

        Passes differ by their dropout masks or, if the model has a posterior over a sample's logits, by draws from it.
        Every sample has its own masks. (One mask per pass for all samples, that is, one draw of the network's weights,
        has the same expectation, but a sample's scores then share the errors of its neighbors: batches of `bald` were
        more alike, and worse than random ones on MNIST.) If the only dropout is directly before the classifier, passes
        work on the cached embeddings, and a sample's masks depend on its pool index alone. Deeper dropout needs full
        passes, and the masks depend on which samples are requested together.
        """
        module = self.model.module
        if not module.dropout_only_in_head:
            streams = (torch_stream(*self._key, "mc", number) for number in range(first, n_passes))
            full_passes = [self.model.dropout_logits(self.inputs, indices, 1, stream) for stream in streams]
            return torch.cat(full_passes).softmax(dim=-1)
        embeddings = self.embeddings(indices)
        passes = embeddings.new_empty((n_passes - first, len(indices), module.n_classes))
        samples = torch.tensor(indices, device=embeddings.device)
        masked_per_row = len(passes) * embeddings.shape[1]
        for rows in DROPOUT_PASSES.blocks(len(indices), masked_per_row, embeddings.device):
            logits = self._random_logits(samples[rows], embeddings[rows], range(first, n_passes))
            passes[:, rows] = softmax(logits.flatten(0, 1)).view_as(logits)
        return passes

    @section("outputs")
    def shared_mc_probabilities(self, indices: NDArray[np.int64], n_passes: int) -> Tensor:
        """Return class probabilities of passes that all samples share, float32 (n_passes, n, C).

        Each pass is one draw of the weights: one dropout mask, or one draw from the joint posterior. A sample's
        probabilities do not depend on which samples are requested together, and nothing is kept.
        """
        module, key = self.model.module, (*self._key, "shared mc")
        if not module.dropout_only_in_head:
            seeds = [stream_seed(*key, number) for number in range(n_passes)]
            logits = self.model.shared_dropout_logits(self.inputs, indices, seeds)
            return softmax(logits.flatten(0, 1)).view_as(logits)
        embeddings = self.embeddings(indices)
        samples = torch.tensor(indices + self._first, device=embeddings.device)
        draws = self._shared_draws(range(n_passes), key)
        passes = embeddings.new_empty((n_passes, len(indices), module.n_classes))
        for rows in DROPOUT_PASSES.blocks(len(indices), embeddings.shape[1] + passes[:, :1].numel(), embeddings.device):
            with torch.no_grad():
                logits = draws(samples[rows], embeddings[rows])
            passes[:, rows] = softmax(logits.flatten(0, 1)).view_as(logits)
        return passes

    def _shared_draws(self, passes: range, key: tuple[int | str, ...]) -> Callable[[Tensor, Tensor], Tensor]:
        module = self.model.module
        if isinstance(module, SolvedModel) and module.has_posterior:
            return module.shared_draws(passes, key)
        keep = 1.0 - module.dropout.p
        one = torch.zeros(1, dtype=torch.int64, device=self.model.device)
        masks = dropout_masks(one, module.embedding_dim, keep, passes, key)[:, 0] / keep
        return lambda samples, embeddings: torch.stack(
            [self.model.logits_from_embeddings(embeddings * mask) for mask in masks]
        )

    def on(self, inputs: Inputs) -> ModelOutputs:
        """Return the outputs of the same models for samples outside the pool; shared passes are the same draws."""
        other = ModelOutputs(self.model, inputs, self._key, self._fit_member, self._held_out)
        other._first = self._first + len(self.inputs)
        return other

    def _random_logits(self, samples: Tensor, embeddings: Tensor, passes: range) -> Tensor:
        """Return logits (T, n, C) of passes through the head: under dropout, or drawn from the posterior."""
        module, key = self.model.module, (*self._key, "mc")
        if isinstance(module, SolvedModel) and module.has_posterior:
            with torch.no_grad():
                return module.random_logits(samples, embeddings, passes, key)
        keep = 1.0 - module.dropout.p
        masks = dropout_masks(samples, embeddings.shape[1], keep, passes, key)
        return self.model.logits_from_embeddings(embeddings / keep * masks)

    @section("outputs")
    def ensemble_probabilities(self, indices: NDArray[np.int64], n_members: int) -> Tensor:
        """Return class probabilities of independently trained members, float32 (n_members, n, C)."""
        while len(self._members) < n_members - 1:
            number = len(self._members) + 1
            self._members.append(_logits_of(self._fit_member(number), self.inputs))
        members = [self._rows, *self._members[: n_members - 1]]
        return torch.stack([softmax(member.take(indices, 0)) for member in members])


def _logits_of(model: FittedModel, inputs: Inputs) -> RowStore:
    """Return a store of a model's logits only."""
    return RowStore(len(inputs), lambda indices: (model.sweep(inputs, indices, logits_only=True)[0],))


class _FurtherTraining:
    """Trains further models in one round; apart from `OutputCache`, whose outputs keep it for their members.

    Args:
        trainer, device, progress: As in `OutputCache`.
    """

    def __init__(self, trainer: TrainerProtocol, device: torch.device, progress: Callable[[int, int], None]) -> None:
        self.seconds = 0.0
        self._trainer, self._device, self._progress = trainer, device, progress

    def fit(self, labeled: LabeledData, unlabeled: UnlabeledData, seed: int, recipe: Recipe | None) -> FittedModel:
        with section("training", self._device) as watch, clean_autograd_state(self._device):
            model = self._trainer.fit(labeled, unlabeled, seed=seed, recipe=recipe, progress=self._progress)
        self.seconds += watch.seconds
        return model


class OutputCache:
    """The outputs of every model fitted in one round; also fits further models.

    Args:
        inputs: The pool's samples and the evaluation transform.
        trainer: The trainer of the round.
        key: Key of the random streams, (seed, round).
        progress: Called with the number of steps done and the total while models are trained.
        keeps_embeddings: Whether embeddings are going to be needed.
        build: Returns an untrained task model for a seed; by default there are none to be had.
    """

    def __init__(
        self,
        inputs: Inputs,
        trainer: TrainerProtocol,
        key: tuple[int | str, ...],
        progress: Callable[[int, int], None] = lambda done, total: None,
        keeps_embeddings: bool = True,
        build: Callable[[int], TaskModel] | None = None,
    ) -> None:
        self.inputs = inputs
        self._build = build
        self._keeps_embeddings = keeps_embeddings
        self.progress = progress
        self._training = _FurtherTraining(trainer, inputs.device, progress)
        self._key = key
        self._outputs: dict[int, ModelOutputs] = {}

    def add(
        self, model: FittedModel, labeled: LabeledData, unlabeled: UnlabeledData, key: tuple[int | str, ...]
    ) -> ModelOutputs:
        """Keep a fitted model's outputs; ``labeled`` is what the model and its ensemble's members are trained on."""

        train, inputs = self._training.fit, self.inputs  # not this object, which keeps the outputs

        def fit_member(number: int) -> FittedModel:
            seed = stream_seed(*key, "member", number)
            if isinstance(model.module, SolvedModel):
                # Fitted to the same labels, all members of such a model would be identical. Drawn without replacement:
                # copies of a sample would be in two folds of a cross-validation, which would favor memorizing.
                n = len(labeled.indices)
                drawn = np.sort(numpy_stream(seed, "part").permutation(n)[: math.ceil(_MEMBERS_PART * n)])
                return train(labeled.part(drawn), unlabeled, seed, None)
            return train(labeled, unlabeled, seed, None)

        def held_out() -> tuple[Tensor, Tensor]:
            folds = stratified_folds(labeled.labels, N_FOLDS, stream_seed(*key, "calibration"))
            logits = [torch.empty((0, model.module.n_classes), device=model.device)]
            labels = [labeled.labels[:0]]
            for number in range(N_FOLDS):
                is_out = folds == number
                if is_out.any():
                    seed = stream_seed(*key, "calibration", number)
                    fitted = train(labeled.part(~is_out), unlabeled, seed, model.recipe)
                    logits.append(fitted.sweep(inputs, labeled.indices[is_out], logits_only=True)[0])
                    labels.append(labeled.labels[is_out])
            return torch.cat(logits), torch.as_tensor(np.concatenate(labels), device=model.device)

        return self.keep(ModelOutputs(model, self.inputs, key, fit_member, held_out, self._keeps_embeddings))

    def keep(self, outputs: ModelOutputs) -> ModelOutputs:
        """Keep outputs for `of`."""
        self._outputs[id(outputs.model)] = outputs
        return outputs

    def fit(
        self, labeled: LabeledData, unlabeled: UnlabeledData, key: tuple[int | str, ...], recipe: Recipe | None
    ) -> FittedModel:
        """Train a further model and keep its outputs."""
        model = self._training.fit(labeled, unlabeled, stream_seed(*key, "train"), recipe)
        self.add(model, labeled, unlabeled, key)
        return model

    def new_model(self, key: tuple[int | str, ...]) -> TaskModel:
        """Return an untrained task model on the inputs' device, in training mode.

        Raises:
            DeepALError: If this round has no way to build one.
        """
        if self._build is None:
            raise DeepALError("this round cannot build untrained models")
        return place(self._build(stream_seed(*key, "new model")), self.inputs.device).train()

    @property
    def training_seconds(self) -> float:
        """Time spent on training further models so far."""
        return self._training.seconds

    def of(self, model: FittedModel) -> ModelOutputs:
        """Return the outputs of a model that was added or fitted here.

        Raises:
            InputError: If it was not.
        """
        if id(model) not in self._outputs:
            raise InputError("the model is not from this round: use context.model or one that context.fit returned")
        return self._outputs[id(model)]
