"""Soft spectral normalization: no layer may stretch a vector by more than a coefficient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from deepal_autoal import pass_zeros

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import TaskModel

Layer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Steps of the power iteration before the training; each training step then adds one.
_FIRST_ITERATIONS = 5


class SoftSpectralNorm(nn.Module):
    """Parametrization W ↦ W · min(1, c/σ), with σ the norm of the layer as a linear map (Gouk et al. 2021).

    For a convolution this is the norm of the map from images to images, at the size of its inputs, with its
    stride and padding, not that of the reshaped kernel. Power iteration finds it: σ = ‖A v‖ for a unit vector v,
    a buffer, which moves toward the first right singular vector with each training step (a forward pass in
    training mode that tracks gradients), and at no other time. σ approaches the norm from below.

    Args:
        layer: The layer whose weight is parametrized; not changed.
        input_shape: Shape of one of its inputs: (C, ...) or (D,).
        coefficient: c.
    """

    direction: Tensor

    def __init__(self, layer: Layer, input_shape: tuple[int, ...], coefficient: float) -> None:
        super().__init__()
        self.coefficient = coefficient
        self._map = linear_map(layer)
        start = torch.randn(1, *input_shape, dtype=layer.weight.dtype, device=layer.weight.device)
        self.register_buffer("direction", start / start.norm())
        for _ in range(_FIRST_ITERATIONS):
            self.iterate(layer.weight)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight that the layer uses, of the same shape."""
        with torch.autocast(weight.device.type, enabled=False):
            if self.training and torch.is_grad_enabled():
                self.iterate(weight)
            norm = torch.linalg.vector_norm(self._map(self.direction, weight))
            # Not weight · (c/σ).clamp(max=1), whose gradient is NaN at a zero weight.
            normalized: Tensor = weight / (norm / self.coefficient).clamp(min=1.0)
            return normalized

    def iterate(self, weight: Tensor) -> None:
        """Do one step of the power iteration: v ← AᵀA v, normalized."""
        with torch.enable_grad():
            vector = self.direction.detach().requires_grad_()
            # AᵀA v is the gradient of ½‖A v‖², so no layer's adjoint is needed.
            energy = 0.5 * self._map(vector, weight.detach()).square().sum()
            (moved,) = torch.autograd.grad(energy, vector)
        length = moved.norm()
        # A new tensor, as the old one may be part of a graph. A zero weight has no direction.
        self.direction = torch.where(length > 0, moved / length, self.direction)


def normalize_layers(model: TaskModel, coefficient: float) -> None:
    """Parametrize the linear and convolutional layers of a backbone in place; the head stays as it is.

    Layers that no sample passes through, and transposed convolutions, are left out.

    Args:
        model: Its ``input_shape`` determines those of the layers.
        coefficient: Greatest norm of a layer.

    Raises:
        InputError: If the model has no ``input_shape``.
    """
    calls = pass_zeros(model.backbone, model.input_shape)
    taken = {call.part: call.input for call in calls if isinstance(call.part, _KINDS)}
    for layer, inputs in taken.items():
        shape = tuple(inputs.shape[-1:] if isinstance(layer, nn.Linear) else inputs.shape[1:])
        parametrize.register_parametrization(layer, "weight", SoftSpectralNorm(layer, shape, coefficient))
        # torch's own property refers to the layer, and its class to itself: the layer would outlive the model until the
        # garbage collector runs. The class is this layer's own.
        setattr(type(layer), "weight", property(_normalized_weight))  # noqa: B010


def _normalized_weight(layer: Any) -> Tensor:
    weight: Tensor = layer.parametrizations.weight()
    return weight


def linear_map(layer: Layer) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a layer without its bias as a function of inputs (n, ...) and weight."""
    if isinstance(layer, nn.Linear):
        return F.linear
    functions: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
    settings: dict[str, Any] = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
    convolve = partial(functions[len(layer.kernel_size)], **settings)
    if layer.padding_mode == "zeros":
        return partial(convolve, padding=layer.padding)
    border, mode = layer._reversed_padding_repeated_twice, layer.padding_mode
    return lambda inputs, weight: convolve(F.pad(inputs, border, mode=mode), weight)
