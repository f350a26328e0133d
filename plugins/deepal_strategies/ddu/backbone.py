"""Changes that keep a backbone smooth and sensitive: leaky activations, averaged shortcuts, bounded layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional as F

from deepal_autoal import Objective
from deepal_strategies.ddu.spectral import normalize_layers

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import TaskModel

_SLOPE = 0.01


class SensitiveObjective(Objective):
    """Cross-entropy of a task model whose backbone is made smooth and sensitive.

    Smooth: soft spectral normalization (see `SoftSpectralNorm`). Sensitive, so different inputs keep different
    embeddings: LeakyReLU in place of every `nn.ReLU` module, and averages in place of strided projections
    beside residual blocks (see `average_shortcuts`). Initial weights stay.

    Args:
        model: The task model; its backbone is changed in place.
        coefficient: Greatest norm of a layer.

    Raises:
        InputError: If the model has no ``input_shape``.
    """

    def __init__(self, model: TaskModel, coefficient: float) -> None:
        super().__init__(model)
        make_leaky(model.backbone)
        average_shortcuts(model.backbone)
        normalize_layers(model, coefficient)


class AveragedShortcut(nn.Module):
    """The mean of each stride × stride square, with channels of zeros added: a projection without parameters.

    It halves odd sides as a strided 1×1 convolution does, rounding up. (The authors' code rounds down, dropping
    pixels at odd sides.)

    Args:
        n_added: Channels to add.
        stride: Stride of the convolution it replaces.
    """

    def __init__(self, n_added: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.n_added = n_added
        self.stride = stride

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps (n, C + n_added, H/stride, W/stride) of maps (n, C, H, W)."""
        averaged = F.avg_pool2d(maps, self.stride, ceil_mode=True)
        return F.pad(averaged, (0, 0, 0, 0, 0, self.n_added))


def make_leaky(backbone: nn.Module) -> None:
    """Replace every `nn.ReLU` in a network by a LeakyReLU with slope 0.01; functional ones cannot be found."""
    for parent in backbone.modules():
        # Not named_children(), which yields a module that is used twice only once.
        for name, child in parent._modules.items():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.LeakyReLU(_SLOPE, child.inplace))


def average_shortcuts(backbone: nn.Module) -> None:
    """Replace the projections of residual blocks by `AveragedShortcut`.

    They are recognized in the form that torchvision and timm build: a block's ``downsample``, a sequence that starts
    with a 1×1 convolution to at least as many channels.
    """
    for block in backbone.modules():
        shortcut = getattr(block, "downsample", None)
        first = shortcut[0] if isinstance(shortcut, nn.Sequential) and len(shortcut) else None
        if isinstance(first, nn.Conv2d) and first.kernel_size == (1, 1) and first.padding == (0, 0):
            n_added = first.out_channels - first.in_channels
            if n_added >= 0:
                block.downsample = AveragedShortcut(n_added, first.stride)
