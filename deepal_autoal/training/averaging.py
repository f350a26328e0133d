"""A moving average of a model's weights during training.

Exponential moving averages of weights (Polyak & Juditsky 1992; Tarvainen & Valpola 2017) vary less from step to step
than the weights do, and often generalize better. The decay grows from 0.1 to its full value, as
(1 + t) / (10 + t), so the initial weights are soon forgotten even if there are few steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class AveragedWeights:
    """Averages of a module's parameters and BatchNorm statistics, kept on their device.

    Other buffers are left alone: the average of a counter or a unit vector may be meaningless.

    Args:
        module: The module, whose weights training changes in place.
        decay: Share of the old average in the new one, in (0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module = module
        self._decay = decay
        self._n_steps = 0
        self._averages = [tensor.clone() for tensor in self._current()]

    def update(self) -> None:
        """Add the weights after a step to the averages."""
        decay = min(self._decay, (1.0 + self._n_steps) / (10.0 + self._n_steps))
        self._n_steps += 1
        torch._foreach_lerp_(self._averages, self._current(), 1.0 - decay)

    def write(self) -> None:
        """Write the averages to the module."""
        torch._foreach_copy_(self._current(), self._averages)

    def _current(self) -> list[Tensor]:
        # Collected on every call: a module may replace a buffer's tensor.
        tensors = [parameter.detach() for parameter in self._module.parameters()]
        for part in self._module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                tensors += [kept for kept in (part.running_mean, part.running_var) if kept is not None]
        return tensors
