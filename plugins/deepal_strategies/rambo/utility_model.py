"""The utility model û: a set network trained to rank subsets by utility, and to predict their transport distance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from deepal_autoal import DeepALError, global_torch_seed, without_compiler
from deepal_strategies.rambo import equations
from deepal_strategies.rambo.bilevel import Iterate, descend, hypergradient
from deepal_strategies.rambo.samples import UtilitySamples
from deepal_strategies.rambo.set_network import N_HEADS, POOLINGS, SetNetwork
from deepal_strategies.shared.option_checks import check_at_least, check_choice, check_positive
from deepal_strategies.shared.row_blocks import EMBEDDINGS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


HYPERGRADIENTS = ("unrolled", "last-step")
# Where λ starts, and Adam's learning rate for it.
_FIRST_WEIGHT, _HYPER_RATE = 1e-5, 0.1


@dataclass(frozen=True)
class Training:
    """How û is built and trained; `RAMBO` describes the options.

    Raises:
        InputError: If a value is out of range.
    """

    width: int = 64
    pooling: str = "mean"
    ranking: bool = True
    transport: float = 1.0
    bilevel: bool = True
    hypergradient: str = "unrolled"
    epochs: int = 20
    steps: int = 5
    learning_rate: float = 0.003

    def __post_init__(self) -> None:
        check_at_least("width", self.width, N_HEADS)
        check_choice("pooling", self.pooling, POOLINGS)
        check_choice("hypergradient", self.hypergradient, HYPERGRADIENTS)
        check_at_least("transport", self.transport, 0)
        check_at_least("epochs", self.epochs, 1)
        check_at_least("steps", self.steps, 1)
        check_positive("learning_rate", self.learning_rate)


@dataclass(frozen=True)
class _Sets:
    """Pairs of subsets as tensors, (2P, k), (2P,) and, if there is a second task, (2P,)."""

    memberships: Tensor
    utilities: Tensor
    transports: Tensor | None


class UtilityModel:
    """û with its weights w and the λ of their regularizer; each training continues from the last one's.

    Args:
        features: Standardized features of S₀, (k, D).
        training: Its settings.
        seed: Of the initial weights.

    Attributes:
        network: The set network, with the weights of the last training.
        losses: The last inner and outer loss; with ``bilevel=False`` only the former.
    """

    def __init__(self, features: Tensor, training: Training, seed: int) -> None:
        self.losses: dict[str, float] = {}
        self._features, self._training = features, training
        width = N_HEADS * math.ceil(training.width / N_HEADS)
        with global_torch_seed(seed):  # on the CPU, so all devices start from the same network
            network = SetNetwork(features.shape[1], width, training.pooling, len(features) / 2)
        self.network = network.to(features.device, features.dtype)
        self._shapes = {name: tuple(value.shape) for name, value in self.network.named_parameters()}
        self._state = Iterate.start(parameters_to_vector(self.network.parameters()).detach())
        n_matrices = sum(value.ndim > 1 for value in self.network.parameters())
        self._log_weights = features.new_full((n_matrices,), math.log(_FIRST_WEIGHT)).requires_grad_()
        self._optimizer = without_compiler(torch.optim.Adam)([self._log_weights], _HYPER_RATE)
        self._unit: float | None = None

    @property
    def log_weights(self) -> list[float]:
        """λ of each weight matrix."""
        return [float(value) for value in self._log_weights.detach()]

    def embed(self, memberships: NDArray[np.bool_]) -> Tensor:
        """Return φ of subsets, (S, H), without gradients."""
        with torch.no_grad():
            embedded: Tensor = self.network(self._features, self._masks(memberships))[0]
        return embedded

    def score(self, memberships: NDArray[np.bool_]) -> Tensor:
        """Return s of subsets, (S,), without gradients."""
        with torch.no_grad():
            scores: Tensor = self.network(self._features, self._masks(memberships))[1]
        return scores

    def statistics(self, features: Tensor) -> Tensor:
        """Return what is summed over sets, (n, F), of samples (n, D), without gradients."""
        blocks = EMBEDDINGS.blocks(len(features))
        with torch.no_grad():
            return torch.cat([self.network.statistics(features[rows]) for rows in blocks])

    def train(self, samples: UtilitySamples) -> None:
        """Train on all pairs so far: w on the smaller half and λ on the larger one, or w on all without bilevel.

        Raises:
            DeepALError: If the loss is not finite.
        """
        training = self._training
        samples = self._scaled(samples)
        with torch.enable_grad():
            if training.bilevel and len(samples.sizes) > 1:
                inner, outer = map(self._sets, samples.split_at_median())
                tracked = training.steps if training.hypergradient == "unrolled" else 1
                for _ in range(training.epochs):
                    self._state, gradient, loss = hypergradient(
                        self._state,
                        self._log_weights,
                        lambda weights, log_weights: self._regularized(weights, log_weights, inner),
                        lambda weights: self.loss(weights, outer),
                        training.steps,
                        training.learning_rate,
                        tracked,
                    )
                    self._log_weights.grad = gradient
                    self._optimizer.step()
                self.losses = {"outer": loss}
            else:
                inner = self._sets(samples)
                fixed = self._log_weights.detach()
                self._state = descend(
                    self._state,
                    lambda weights: self._regularized(weights, fixed, inner),
                    training.epochs * training.steps,
                    training.learning_rate,
                )
                self.losses = {}
            self.losses["inner"] = self.loss(self._state.weights, inner).item()
        if not all(map(math.isfinite, self.losses.values())):
            raise DeepALError("the utility model's loss is not finite: use a lower learning_rate")
        vector_to_parameters(self._state.weights.detach(), self.network.parameters())

    def loss(self, weights: Tensor, sets: _Sets) -> Tensor:
        """Return L of pairs, the mean over them (the paper's sum would make λ depend on their number).

        Args:
            weights: w, all parameters of the network in a vector.
            sets: The pairs.
        """
        _, scores, distances = functional_call(
            self.network, self._parameters(weights), (self._features, sets.memberships)
        )
        first, second = scores[::2], scores[1::2]
        u = sets.utilities
        if self._training.ranking:
            main = equations.ranking_loss(first, second, u[::2], u[1::2])
        else:
            main = equations.regression_loss(scores, u)
        if sets.transports is None:
            return main
        true = sets.transports
        second_task = equations.transport_loss(distances[::2], distances[1::2], true[::2], true[1::2])
        return equations.multitask_loss(main, second_task, self._training.transport)

    def _regularized(self, weights: Tensor, log_weights: Tensor, sets: _Sets) -> Tensor:
        return self.loss(weights, sets) + equations.regularizer(self._parameters(weights), log_weights)

    def _parameters(self, weights: Tensor) -> dict[str, Tensor]:
        """Return the network's parameters by name, views of a vector."""
        parts = torch.split(weights, [math.prod(shape) for shape in self._shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def _scaled(self, samples: UtilitySamples) -> UtilitySamples:
        """Return the samples in units in which one learning rate suits all data.

        Utilities for regression are standardized. Distances are divided by their standard deviation, but not shifted,
        as L_OT uses that they are never negative; the head starts at their mean.
        """
        utilities, distances = samples.utilities, samples.distances
        if not self._training.ranking:
            utilities = (utilities - utilities.mean()) / max(float(utilities.std()), 1e-6)
        if self._training.transport:
            if self._unit is None:
                mean = float(distances.mean())
                self._unit = max(float(distances.std()), 1e-3 * mean, 1e-12)
                self._parameters(self._state.weights.detach())["transport_head.2.bias"].fill_(mean / self._unit)
            distances = distances / self._unit
        return UtilitySamples(samples.memberships, utilities, distances)

    def _sets(self, samples: UtilitySamples) -> _Sets:
        memberships = self._masks(samples.memberships)
        utilities, distances = (
            torch.as_tensor(values, dtype=memberships.dtype, device=memberships.device)
            for values in (samples.utilities, samples.distances)
        )
        return _Sets(memberships, utilities, distances if self._training.transport else None)

    def _masks(self, memberships: NDArray[np.bool_]) -> Tensor:
        return torch.as_tensor(memberships).to(self._features)  # its dtype and device
