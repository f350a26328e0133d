"""`FittedModel`: a trained task model, and the passes over samples that strategies and evaluation need."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_autoal.isolation.blame import blaming
from deepal_autoal.measuring.profile import count_passed
from deepal_autoal.numerics.devices import bounded_memory
from deepal_autoal.numerics.precision import autocast, place
from deepal_autoal.numerics.random_streams import global_torch_seed
from deepal_autoal.numerics.row_blocks import MODEL_PASS, row_slices
from deepal_autoal.training.objective import Objective
from deepal_autoal.training.task_model import dropout_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from deepal_autoal.training.inputs import Inputs
    from deepal_autoal.training.recipe import Recipe
    from deepal_autoal.training.task_model import TaskModel

# Activations of the widest layers to expect: maps of an image's size, and numbers beside a vector's own.
_IMAGE_WIDTH = 32
_VECTOR_WIDTH = 1024


class FittedModel:
    """A trained model, in evaluation mode and without gradients of its weights.

    No pass changes weights, mode, BatchNorm statistics or torch's global generator. Passes run without gradient
    tracking, but their results may be used in later gradient computations.

    Args:
        module: The model; it is moved to the device.
        device: Where it computes.
        recipe: How it was trained.
        seed: Seed of its training.
        metrics: Metrics of its training: ``epochs``, ``steps``, ``train_loss``, ``train_accuracy``,
            and the objective's own.
        precision: Precision of the backbone, ``float32`` or ``bfloat16``; the head computes in float32.
        objective: The objective it was trained with, and any networks trained alongside; by default the plain one.
    """

    def __init__(
        self,
        module: TaskModel,
        *,
        device: torch.device,
        recipe: Recipe,
        seed: int,
        metrics: Mapping[str, Any] | None = None,
        precision: str = "float32",
        objective: Objective | None = None,
    ) -> None:
        self.objective = place(objective or Objective(module), device).eval().requires_grad_(False)
        self.module = self.objective.model
        self.device = device
        self.recipe = recipe
        self.seed = seed
        self.metrics: dict[str, Any] = dict(metrics or {})
        self.precision = precision

    def sweep(
        self,
        inputs: Inputs,
        indices: NDArray[np.int64],
        batch_size: int | None = None,
        *,
        logits_only: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Pass every sample through the model once.

        Args:
            inputs: Source of the samples.
            indices: Indices of the samples, (n,).
            batch_size: Samples passed at once; by default chosen to bound memory.
            logits_only: Whether to discard the embeddings.
            progress: Called after every block with the number of samples passed and their total.

        Returns:
            Logits, float32 (n, C), and embeddings, float32 (n, D), or (0, D) if discarded, on the device, in the order
            of ``indices``.
        """
        count_passed(self, inputs, indices)
        n, module = len(indices), self.module
        logits = torch.empty((n, module.n_classes), device=self.device)
        embeddings = torch.empty((0 if logits_only else n, module.embedding_dim), device=self.device)
        advice = "choose a smaller --model, or bring images to a smaller --image-size"
        with torch.no_grad(), bounded_memory("a pass over samples", advice):
            for rows in row_slices(n, batch_size or samples_at_once(inputs.input_shape, self.device)):
                with self._blaming(), autocast(self.precision, self.device):
                    features = module.features(inputs.batch(indices[rows]))
                features = features.float()
                logits[rows] = module.head(features)
                if not logits_only:
                    embeddings[rows] = features
                if progress is not None:
                    progress(rows.stop, n)
        return logits, embeddings

    def logits_from_embeddings(self, embeddings: Tensor) -> Tensor:
        """Return the head's logits, float32 (n, C), of embeddings (n, D), without dropout."""
        with torch.no_grad():
            logits: Tensor = self.module.head(embeddings)
            return logits

    def dropout_logits(
        self, inputs: Inputs, indices: NDArray[np.int64], n_passes: int, generator: torch.Generator
    ) -> Tensor:
        """Return logits, float32 (n_passes, n, C), under dropout, with new masks for every sample and pass.

        Only dropout is random: BatchNorm stays in evaluation mode. Every pass goes through the whole model.

        Args:
            inputs: Source of the samples.
            indices: Indices of the samples, (n,).
            n_passes: Number of passes.
            generator: Generator of the masks.
        """
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        logits = torch.empty((n_passes, len(indices), self.module.n_classes), device=self.device)
        with torch.no_grad(), global_torch_seed(seed, self.device), _dropping(self.module):
            for rows in row_slices(len(indices), samples_at_once(inputs.input_shape, self.device)):
                batch = inputs.batch(indices[rows])
                for number in range(n_passes):
                    with self._blaming(), autocast(self.precision, self.device):
                        features = self.module.features(batch)
                    logits[number, rows] = self.module.head(self.module.dropout(features.float()))
        return logits

    def shared_dropout_logits(self, inputs: Inputs, indices: NDArray[np.int64], seeds: Sequence[int]) -> Tensor:
        """Return logits, float32 (T, n, C), of passes under dropout with the same masks for all samples.

        Args:
            inputs: Source of the samples.
            indices: Indices of the samples, (n,).
            seeds: One for each pass; a pass's masks depend on it alone, whichever samples are requested together.
        """

        def features(sample: Tensor) -> Tensor:
            with autocast(self.precision, self.device):
                found = self.module.features(sample[None])
            dropped: Tensor = self.module.dropout(found.float())[0]
            return dropped

        logits = torch.empty((len(seeds), len(indices), self.module.n_classes), device=self.device)
        with torch.no_grad(), _dropping(self.module), self._blaming():
            for rows in row_slices(len(indices), samples_at_once(inputs.input_shape, self.device)):
                batch = inputs.batch(indices[rows])
                for number, seed in enumerate(seeds):
                    with global_torch_seed(seed, self.device):
                        dropped = torch.vmap(features, randomness="same")(batch)
                    logits[number, rows] = self.module.head(dropped)
        return logits

    def _blaming(self) -> AbstractContextManager[None]:
        """Attribute an error in a third-party model to it; errors in our own models keep their traceback."""
        origin = self.module.origin
        return blaming(origin, "its forward pass", own_errors=True) if origin else nullcontext()


def samples_at_once(input_shape: tuple[int, ...], device: torch.device) -> int:
    """Return how many samples to pass through a model at once, depending on the input size.

    At most 8192, and at least 8 unless images are so large (above half a megapixel) that fewer fill the memory that
    a pass may take.
    """
    if len(input_shape) > 1:
        numbers = max(input_shape[0], _IMAGE_WIDTH) * math.prod(input_shape[1:])
    else:
        numbers = input_shape[0] + _VECTOR_WIDTH
    return MODEL_PASS.rows(4 * numbers, device)


@contextmanager
def _dropping(module: nn.Module) -> Iterator[None]:
    """Put the dropout parts, and nothing else, into training mode."""
    before = [(part, part.training) for part in dropout_parts(module)]
    try:
        for part, _ in before:
            part.training = True
        yield
    finally:
        for part, training in before:
            part.training = training
