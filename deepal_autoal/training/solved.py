"""`SolvedModel`: a task model whose best weights are found directly, instead of by a recipe's gradient steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from deepal_autoal.numerics.dropout_masks import normal_noise
from deepal_autoal.training.task_model import TaskModel

if TYPE_CHECKING:
    from torch import Tensor

# Numbers (samples × features × classes) up to which problems are solved in float64.
_WIDE_NUMBERS = 1 << 28


class FlatInput(nn.Flatten):
    """The identity on vectors (n, D); flattens images."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList()


class SizedByData(nn.Module):
    """A module whose buffers are resized to the saved ones when they are loaded."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        for name, buffer in self.named_buffers(recurse=False):
            saved = state_dict.get(prefix + name)
            if saved is not None and saved.shape != buffer.shape:
                setattr(self, name, buffer.new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *arguments)


class SolvedModel(TaskModel):
    """A task model that `solve` fits; the recipe's steps, optimizer and augmentation are not used.

    The result depends only on the labels, so models of different seeds differ little or not at all; members of an
    ensemble are therefore fitted to random parts of the labels (subagging, Bühlmann & Yu 2002). A strategy that
    changes what training minimizes trains the model by gradient steps if it has parameters, and is refused if not.
    """

    @property
    def is_solved(self) -> bool:
        """True."""
        return True

    def solve(
        self, inputs: Tensor, labels: Tensor, *, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> dict[str, Any]:
        """Fit the model, in place.

        Args:
            inputs: Model inputs, (M, D) or (M, C, H, W), on the model's device.
            labels: int64 (M,).
            seed: Seed of everything random.
            progress: Called with the steps done and the total number of steps.

        Returns:
            Metrics of the training, JSON-able.
        """
        raise NotImplementedError

    def random_logits(self, samples: Tensor, embeddings: Tensor, passes: range, key: tuple[int | str, ...]) -> Tensor:
        """Return logits (T, n, C) of random passes: by default posterior draws, independent for each sample.

        Only for models that have a posterior (see `TaskModel.has_posterior`).

        Args:
            samples: Pool indices, int64 (n,); a sample's draws depend on its index, the pass and the key.
            embeddings: (n, D).
            passes: Numbers of the passes, T of them.
            key: Key of the random stream.
        """
        logits: Tensor = self.head(embeddings)
        deviations, rotation = self.logit_deviations(embeddings)
        noise = normal_noise(samples, self.n_classes, passes, key)
        return logits + (noise * deviations) @ rotation.T

    def shared_draws(self, passes: range, key: tuple[int | str, ...]) -> Callable[[Tensor, Tensor], Tensor]:
        """Return a function that gives the logits of passes, each of them one draw of the model for all samples.

        Where `random_logits` draws for each sample on its own, these are draws from the joint posterior of all logits.

        Args:
            passes: Numbers of the passes, T of them.
            key: Key of the random stream.

        Returns:
            Maps sample numbers, int64 (n,), and embeddings (n, D) to logits (T, n, C). What a draw does not share
            among samples depends on the sample's number.
        """
        raise NotImplementedError

    def logit_deviations(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return the standard deviations of the logits' posterior, (n, C), along the columns of a matrix (C, C)."""
        raise NotImplementedError


def working_copy(tensor: Tensor, numbers: int) -> Tensor:
    """Return a tensor in the precision to solve in: float64, or float32 if ``numbers`` is large; for mps on the CPU.

    Args:
        tensor: Floating.
        numbers: Samples × features × classes of the problem.
    """
    if tensor.device.type == "mps":
        tensor = tensor.cpu()
    return tensor.to(torch.float64 if numbers <= _WIDE_NUMBERS else torch.float32)


def class_sample_weights(labels: Tensor, n_classes: int, kind: str, dtype: torch.dtype) -> Tensor:
    """Return a weight for each sample, (M,), with mean one.

    Args:
        labels: int64 (M,).
        n_classes: C.
        kind: ``none``: all one; ``balanced``: inversely proportional to the frequency of the sample's class.
        dtype: Type of the result.
    """
    if kind == "none":
        return torch.ones(len(labels), dtype=dtype, device=labels.device)
    counts = torch.bincount(labels, minlength=n_classes)
    weights: Tensor = (len(labels) / ((counts > 0).sum() * counts[labels])).to(dtype)
    return weights


def training_metrics(log_probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Return ``train_loss`` and ``train_accuracy`` of log probabilities (M, C) of the labeled samples."""
    return {
        "train_loss": float(-log_probabilities.gather(1, labels[:, None]).mean()),
        "train_accuracy": float((log_probabilities.argmax(dim=1) == labels).double().mean()),
    }
