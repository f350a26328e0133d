"""A Gaussian process and a random forest, averaged: for tables, where functions may be smooth or have thresholds.

The share of each is the one under which labels that neither had seen are most likely: the process's by
cross-validation, the forest's out of bag (stacking, Wolpert 1992; Breiman 1996).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from deepal_autoal.errors import InputError
from deepal_autoal.models.forest import Forest
from deepal_autoal.models.gp import GaussianProcess
from deepal_autoal.models.solved import FlatInput, SolvedModel, training_metrics

if TYPE_CHECKING:
    from torch import Tensor

# Shares of the forest that are tried. Their prior is Beta(2, 2): without labels to go by, half.
_SHARES = 19


class MixtureHead(nn.Module):
    """Log of the average of two heads' class probabilities.

    Attributes:
        first, second: Heads that return logits.
        share: Of the second, in (0, 1).
    """

    share: Tensor

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.register_buffer("share", torch.tensor(0.5))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return log probabilities (n, C) of vectors (n, D)."""
        return self.mixed(self.first(vectors), self.second(vectors))

    def mixed(self, first: Tensor, second: Tensor) -> Tensor:
        """Return log probabilities (..., C) of the two heads' logits."""
        return _mixed(first.log_softmax(dim=-1), second.log_softmax(dim=-1), self.share)


class Tabular(SolvedModel):
    """The mixture on the scaled inputs, which are its embeddings too.

    Args:
        process: The Gaussian process.
        forest: The forest.
    """

    has_posterior = True
    head: MixtureHead

    def __init__(self, process: GaussianProcess, forest: Forest) -> None:
        super().__init__(FlatInput(), process.embedding_dim, process.n_classes, 0.0)
        # Not registered as parts: their heads are, once.
        self._members = (process, forest)
        self.head = MixtureHead(process.head, forest.head)

    def solve(
        self, inputs: Tensor, labels: Tensor, *, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> dict[str, Any]:
        """Fit both and the shares; see `SolvedModel.solve`."""
        process, forest = self._members
        of_process = process.solve(inputs, labels, seed=seed)
        of_forest = forest.solve(inputs, labels, seed=seed)
        if progress is not None:
            progress(1, 1)
        assert process.held_out is not None and forest.out_of_bag is not None
        positions = process.held_out.positions.to(labels.device)
        share = _best_share(
            process.held_out.log_probabilities.to(labels.device), forest.out_of_bag[positions], labels[positions]
        )
        self.head.share.fill_(share)
        log_probabilities = self.head(inputs.flatten(1))
        return {
            "steps": of_process["steps"] + of_forest["steps"],
            **training_metrics(log_probabilities, labels),
            "forest_share": share,
            "length": of_process["length"],
            "variance": of_process["variance"],
        }

    def random_logits(self, samples: Tensor, embeddings: Tensor, passes: range, key: tuple[int | str, ...]) -> Tensor:
        """Return log probabilities (T, n, C): the average of a draw from the posterior and some of the trees."""
        drawn = [
            member.random_logits(samples, embeddings, passes, (*key, number))
            for number, member in enumerate(self._members)
        ]
        return self.head.mixed(*drawn)


def _best_share(first: Tensor, second: Tensor, labels: Tensor) -> float:
    """Return the share of the second that makes the labels most likely.

    Args:
        first, second: Log probabilities (n, C) by models that have not seen the sample; NaN where there are none.
        labels: (n,).
    """
    known = second[:, 0].isfinite()
    own = [table[known].gather(1, labels[known, None]).squeeze(1) for table in (first, second)]
    shares = torch.linspace(0, 1, _SHARES + 2, device=labels.device, dtype=first.dtype)[1:-1]
    likelihood = _mixed(own[0], own[1], shares[:, None]).sum(dim=1)
    return float(shares[(likelihood + shares.log() + (1 - shares).log()).argmax()])


def _mixed(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    return torch.logaddexp(first + (1 - share).log(), second + share.log())


def build(
    input_shape: tuple[int, ...],
    n_classes: int,
    trees: int = 100,
    class_weights: Literal["none", "balanced"] = "none",
) -> SolvedModel:
    """Return the mixture of a Gaussian process and a random forest on the scaled inputs, which are its embeddings.

    Args:
        input_shape: (D,), or (C, H, W), which is flattened.
        n_classes: Number of outputs.
        trees: How many trees.
        class_weights: ``balanced`` weights each class alike, however many labels it has.
    """
    if trees < 1:
        raise InputError(f"trees {trees}: give at least 1")
    width = math.prod(input_shape)
    return Tabular(
        GaussianProcess(width, n_classes, None, class_weights), Forest(width, n_classes, trees, class_weights)
    )
