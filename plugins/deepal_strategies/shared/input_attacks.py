"""Smallest changes of a sample's input that change its predicted class, found by walking in small steps.

How it works: all samples of a block walk at once. In each step one forward pass shows which samples have reached
another class, and these are left out of the further ones; its gradients give the others' next step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepal_autoal import QueryError
from deepal_strategies.shared.row_blocks import ATTACKS

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import FittedModel, QueryContext

# (logits, inputs, predicted) → steps: logits (n, C) with a graph to the inputs (n, ...), and the classes (n,) to leave.
StepRule = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]


def boundary_distances(
    context: QueryContext, next_step: StepRule, max_iterations: int, overshoot: float = 0.0
) -> Tensor:
    """Return how far each candidate walks until another class is as likely as its own, ‖r‖₂, float32 (N,).

    Distances are those of model inputs, which are normalized; inf for candidates that do not get there.

    Args:
        context: The round.
        next_step: Returns the next step of each sample from where it is.
        max_iterations: Steps at most.
        overshoot: η: after steps that sum to r, a sample is at x + (1 + η) r.

    Raises:
        QueryError: If the model has no gradients with respect to its inputs.
    """
    view = context.candidates
    distances = torch.full((len(view),), torch.inf, device=context.device)
    positions = np.arange(len(view))
    numbers = math.prod(view.inputs(positions[:1]).shape)
    for rows in ATTACKS.blocks(len(view), numbers, context.device):
        inputs = view.inputs(positions[rows])
        distances[rows] = _walk(context.model, inputs, next_step, max_iterations, overshoot)
        context.progress(min(rows.stop, len(view)), len(view))
    return distances


def _walk(model: FittedModel, inputs: Tensor, next_step: StepRule, max_iterations: int, overshoot: float) -> Tensor:
    distances = torch.full((len(inputs),), torch.inf, device=inputs.device)
    walking = torch.arange(len(inputs), device=inputs.device)
    moved = torch.zeros_like(inputs)
    predicted = None
    with torch.enable_grad(), torch.autocast(inputs.device.type, enabled=False):
        for iteration in range(max_iterations + 1):
            here = (inputs + (1.0 + overshoot) * moved).requires_grad_()
            logits = model.module.head(model.module.features(here).float())
            if not logits.requires_grad:
                raise QueryError(
                    "the model has no gradients with respect to its inputs (a forest has none); choose another "
                    "--model, such as cnn, mlp, linear or gp"
                )
            values = logits.detach()
            predicted = values.argmax(dim=1) if predicted is None else predicted
            own = values.gather(1, predicted[:, None]).squeeze(1)
            arrived = values.scatter(1, predicted[:, None], -torch.inf).amax(dim=1) >= own
            distances[walking[arrived]] = torch.linalg.vector_norm(moved[arrived].flatten(1), dim=1)
            if iteration == max_iterations or bool(arrived.all()):
                break
            steps = next_step(logits, here, predicted)
            # Where all gradients vanish, nothing would ever change.
            left = ~arrived & (steps != 0).flatten(1).any(dim=1)
            walking, inputs, predicted = walking[left], inputs[left], predicted[left]
            moved = moved[left] + steps[left]
            if not len(walking):
                break
    return distances
