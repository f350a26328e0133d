"""Random Fourier features: a Gaussian kernel machine that trains as a linear model does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from deepal_autoal import TaskModel

if TYPE_CHECKING:
    from torch import Tensor

N_FEATURES = 1024
DROPOUT = 0.2


class FourierFeatures(nn.Module):
    """The random map z(x) = √2 · cos(Wx + c) of Rahimi & Recht (NeurIPS 2007), drawn once and never trained.

    W is Gaussian with variance 1/σ² and c uniform on [0, 2π), so z(x)·z(y)/m estimates the Gaussian kernel
    exp(-‖x - y‖²/(2σ²)) with m features. The paper divides z by √m; without that, features have the scale that
    a network's head and its learning rate expect.

    The bandwidth is σ² = P for P inputs. The core standardizes them, so two random samples are 2P apart in
    mean squared distance, however the inputs correlate, and their kernel is about exp(-1): samples are neither all
    similar nor all different. Unlike the usual median rule, this needs no distances. Images are standardized per
    channel over all pixels; where single pixels vary less than that, the kernel is wider.

    Args:
        n_inputs: Numbers in a flattened input, P.
        n_features: Number of features, m.

    Attributes:
        frequencies: W, a buffer (m, P).
        phases: c, a buffer (m,).
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, n_inputs: int, n_features: int = N_FEATURES) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(n_features, n_inputs) / math.sqrt(n_inputs))
        self.register_buffer("phases", 2.0 * math.pi * torch.rand(n_features))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features, (n, m), in [-√2, √2]."""
        return math.sqrt(2.0) * torch.cos(nn.functional.linear(inputs.flatten(1), self.frequencies, self.phases))


def build(input_shape: tuple[int, ...], n_classes: int) -> TaskModel:
    """Return a linear classifier on random Fourier features, drawn from torch's global generator.

    Args:
        input_shape: (D,), or (C, H, W), which is flattened.
        n_classes: Number of outputs.
    """
    return TaskModel(FourierFeatures(math.prod(input_shape)), N_FEATURES, n_classes, DROPOUT)
