"""Bilevel optimization: weights w(λ) that minimize a regularized inner loss, and λ that minimizes an outer loss.

The hypergradient dL_outer(w_T(λ))/dλ is that of T unrolled steps, in reverse mode (Franceschi et al. 2018). Steps are
Adam's, written out so that they can be differentiated; plain gradient descent hardly moves a set network, whose
pooled differences are small. Every call continues from the last weights, which count as constant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

_DECAY, _SQUARE_DECAY = 0.9, 0.999
# Inside the square root: its derivative is finite where a gradient is 0.
_EPSILON = 1e-12


@dataclass(frozen=True)
class Iterate:
    """Weights and Adam's moments, as vectors (n,).

    Attributes:
        weights: w.
        moment: Mean of gradients.
        square: Mean of their squares.
        n_steps: Steps so far.
    """

    weights: Tensor
    moment: Tensor
    square: Tensor
    n_steps: int = 0

    @classmethod
    def start(cls, weights: Tensor) -> Iterate:
        """Return the first iterate."""
        zeros = torch.zeros_like(weights)
        return cls(weights, zeros, zeros).detached()

    def detached(self) -> Iterate:
        """Return it as a constant to start from, with weights that require a gradient."""
        return Iterate(self.weights.detach().requires_grad_(), self.moment.detach(), self.square.detach(), self.n_steps)


def adam_step(state: Iterate, gradient: Tensor, learning_rate: float) -> Iterate:
    """Return the next iterate, a differentiable function of the gradient (Kingma & Ba 2015)."""
    n_steps = state.n_steps + 1
    moment = _DECAY * state.moment + (1 - _DECAY) * gradient
    square = _SQUARE_DECAY * state.square + (1 - _SQUARE_DECAY) * gradient.square()
    scale, square_scale = 1 - _DECAY**n_steps, 1 - _SQUARE_DECAY**n_steps
    step = (moment / scale) / (square / square_scale + _EPSILON).sqrt()
    return Iterate(state.weights - learning_rate * step, moment, square, n_steps)


def descend(
    state: Iterate, loss: Callable[[Tensor], Tensor], n_steps: int, learning_rate: float, tracked: int = 0
) -> Iterate:
    """Return the iterate after some steps.

    Args:
        state: Where to start.
        loss: What to minimize, of w.
        n_steps: T.
        learning_rate: Adam's.
        tracked: Through how many of the last steps gradients can be taken.
    """
    for number in range(n_steps):
        is_tracked = number >= n_steps - tracked
        (gradient,) = torch.autograd.grad(loss(state.weights), [state.weights], create_graph=is_tracked)
        state = adam_step(state, gradient, learning_rate)
        if not is_tracked:
            state = state.detached()
    return state


def hypergradient(
    state: Iterate,
    log_weights: Tensor,
    inner: Callable[[Tensor, Tensor], Tensor],
    outer: Callable[[Tensor], Tensor],
    n_steps: int,
    learning_rate: float,
    tracked: int,
) -> tuple[Iterate, Tensor, float]:
    """Return the iterate after T inner steps, dL_outer/dλ and L_outer.

    Args:
        state: Where to start.
        log_weights: λ; requires a gradient.
        inner: The regularized loss of w and λ.
        outer: The outer loss of w.
        n_steps: T.
        learning_rate: Of the inner steps.
        tracked: T for the hypergradient of all steps; 1 for the cheap form, which takes all but the last step as
            constant (one-step approximation, Luketina et al. 2016).
    """
    state = descend(state, lambda weights: inner(weights, log_weights), n_steps, learning_rate, tracked)
    loss = outer(state.weights)
    (gradient,) = torch.autograd.grad(loss, [log_weights])
    return state.detached(), gradient, loss.item()
