"""The average of a Gaussian process and a random forest, for tables, whose functions may be smooth or have thresholds.

The shares are those under which labels that neither has seen are most likely, as predicted by cross-validation for the
process and out of bag for the forest (stacking, Wolpert 1992; Breiman 1996). A forest of few labels is less confident
than it is accurate, so its probabilities are calibrated on the same predictions first.
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
from deepal_autoal.numerics.calibration import best_temperature
from deepal_autoal.training.solved import FlatInput, SolvedModel, training_metrics

if TYPE_CHECKING:
    from torch import Tensor

# Number of shares of the forest to try. Their prior is Beta(2, 2): one half without labels.
_SHARES = 19


class MixtureHead(nn.Module):
    """Log of the average of two heads' class probabilities.

    Attributes:
        first, second: Heads that return logits.
        share: Share of the second, in (0, 1).
        temperature: Of the second's logits.
    """

    share: Tensor
    temperature: Tensor

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.register_buffer("share", torch.tensor(0.5))
        self.register_buffer("temperature", torch.tensor(1.0))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        state_dict.setdefault(f"{prefix}temperature", torch.tensor(1.0))  # earlier versions had none
        super()._load_from_state_dict(state_dict, prefix, *others)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return log probabilities (n, C) of vectors (n, D)."""
        return self.mixed(self.first(vectors), self.second(vectors))

    def mixed(self, first: Tensor, second: Tensor) -> Tensor:
        """Return log probabilities (..., C) from the two heads' logits."""
        return _mixed(first.log_softmax(dim=-1), (second / self.temperature).log_softmax(dim=-1), self.share)


class Tabular(SolvedModel):
    """The mixture on the scaled inputs, which are also its embeddings.

    Args:
        process: The Gaussian process.
        forest: The forest.
    """

    has_posterior = True
    head: MixtureHead

    def __init__(self, process: GaussianProcess, forest: Forest) -> None:
        super().__init__(FlatInput(), process.embedding_dim, process.n_classes, 0.0)
        # Not registered as modules: only their heads are, once.
        self._members = (process, forest)
        self.head = MixtureHead(process.head, forest.head)

    def solve(
        self, inputs: Tensor, labels: Tensor, *, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> dict[str, Any]:
        """Fit both models and the shares; see `SolvedModel.solve`."""
        process, forest = self._members
        of_process = process.solve(inputs, labels, seed=seed)
        of_forest = forest.solve(inputs, labels, seed=seed)
        if progress is not None:
            progress(1, 1)
        assert process.held_out is not None and forest.out_of_bag is not None
        positions = process.held_out.positions.to(labels.device)
        first, second = process.held_out.log_probabilities.to(labels.device), forest.out_of_bag[positions]
        known = second[:, 0].isfinite()
        first, second, own = first[known], second[known], labels[positions][known]
        temperature = best_temperature(second, own)
        share = _best_share(first, (second / temperature).log_softmax(dim=1), own)
        self.head.temperature.fill_(temperature)
        self.head.share.fill_(share)
        log_probabilities = self.head(inputs.flatten(1))
        return {
            "steps": of_process["steps"] + of_forest["steps"],
            **training_metrics(log_probabilities, labels),
            "forest_share": share,
            "forest_temperature": temperature,
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

    def shared_draws(self, passes: range, key: tuple[int | str, ...]) -> Callable[[Tensor, Tensor], Tensor]:
        """Return log probabilities (T, n, C) as a function; see `SolvedModel.shared_draws`."""
        draws = [member.shared_draws(passes, (*key, number)) for number, member in enumerate(self._members)]
        return lambda samples, embeddings: self.head.mixed(*(draw(samples, embeddings) for draw in draws))


def _best_share(first: Tensor, second: Tensor, labels: Tensor) -> float:
    """Return the share of the second that makes the labels most likely.

    Args:
        first, second: Log probabilities (n, C) by models that have not seen the sample.
        labels: (n,).
    """
    own = [table.gather(1, labels[:, None]).squeeze(1) for table in (first, second)]
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
        trees: Number of trees.
        class_weights: ``balanced`` gives each class the same weight, however many labels it has.
    """
    if trees < 1:
        raise InputError(f"trees {trees}: give at least 1")
    width = math.prod(input_shape)
    return Tabular(
        GaussianProcess(width, n_classes, None, class_weights), Forest(width, n_classes, trees, class_weights)
    )
