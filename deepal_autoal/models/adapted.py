"""Networks of other libraries as task models: their classifier and channels are replaced, their stages named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from deepal_autoal.errors import InputError, format_error
from deepal_autoal.models.find_layers import find_classifier, find_dropout, find_stages
from deepal_autoal.training.task_model import DEFAULT_DROPOUT, TaskModel
from deepal_autoal.training.zero_pass import PartCall, pass_zeros

if TYPE_CHECKING:
    from torch import Tensor

RGB = 3


class AdaptedBackbone(nn.Module):
    """A network that returns embeddings.

    Args:
        network: Maps inputs to embeddings, (n, d).
        stage_names: Names of its parts that are stages.
    """

    def __init__(self, network: nn.Module, stage_names: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self._stage_names = tuple(stage_names)

    @property
    def stages(self) -> nn.ModuleList:
        """The parts whose outputs an auxiliary head may use.

        They are not stored as a separate list, which would save every weight twice.
        """
        return nn.ModuleList(self.network.get_submodule(name) for name in self._stage_names)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return embeddings, (n, d)."""
        return cast("Tensor", self.network(inputs))


def adapt_classifier(
    name: str, network: nn.Module, input_shape: tuple[int, int, int], n_classes: int, dropout: float | None
) -> TaskModel:
    """Return the task model of a network whose last layer classifies.

    That layer and any dropout directly in front of it are removed and replaced with our own dropout and classifier.

    Args:
        name: The model's name, for messages.
        network: Maps images of ``input_shape`` to class scores.
        input_shape: (C, H, W).
        n_classes: Number of outputs.
        dropout: Rate in front of our classifier; by default the network's own rate there, or 0.5 if it has none.

    Raises:
        InputError: If the network cannot take such images, or does not end in a linear classifier.
    """
    calls = _pass_zeros(name, network, input_shape)
    classifier = find_classifier(name, calls)
    embedding_dim = cast("nn.Linear", network.get_submodule(classifier)).in_features
    place = find_dropout(calls, classifier)
    if place is not None:
        dropout = cast("nn.Dropout", network.get_submodule(place)).p if dropout is None else dropout
        replace_part(network, place, nn.Identity())
    replace_part(network, classifier, nn.Identity())
    return _task_model(network, find_stages(calls, input_shape), classifier, embedding_dim, n_classes, dropout)


def adapt_embedder(
    name: str, network: nn.Module, input_shape: tuple[int, int, int], n_classes: int, dropout: float | None
) -> TaskModel:
    """Return the task model of a network that has no classifier and returns embeddings.

    Args:
        name, network, input_shape, n_classes, dropout: As in `adapt_classifier`; ``dropout`` is 0.5 by default.

    Raises:
        InputError: If the network cannot take such images, or does not return one vector per sample.
    """
    calls = _pass_zeros(name, network, input_shape)
    output = calls[-1].output
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        raise InputError(f"model {name!r} does not return one feature vector per sample; choose another --model")
    last = next((call.name for call in reversed(calls[:-1]) if call.output is output), None)
    stages = find_stages(calls, input_shape)
    return _task_model(network, stages, last, output.shape[1], n_classes, dropout)


def first_convolution(name: str, network: nn.Module) -> str:
    """Return the name of the layer that takes the three color channels.

    Raises:
        InputError: If there is none.
    """
    layers = [(path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    if layers and layers[0][1].in_channels == RGB and layers[0][1].groups == 1:
        return str(layers[0][0])
    raise InputError(f"model {name!r} has no first convolution that takes three channels; choose another --model")


def take_channels(network: nn.Module, path: str, channels: int) -> None:
    """Replace the first convolution with one for another number of channels.

    Its weights are drawn with the standard deviation of the network's own; its bias is kept.
    """
    old = cast("nn.Conv2d", network.get_submodule(path))
    if channels == old.in_channels:
        return
    new = nn.Conv2d(
        channels, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None, padding_mode=old.padding_mode,
    )  # fmt: skip
    with torch.no_grad():
        nn.init.normal_(new.weight, std=float(old.weight.std()))
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    replace_part(network, path, new)


def replace_part(network: nn.Module, path: str, part: nn.Module) -> None:
    """Replace a named module."""
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, part)


def _pass_zeros(name: str, network: nn.Module, input_shape: tuple[int, int, int]) -> list[PartCall]:
    try:
        return pass_zeros(network, input_shape)
    except Exception as error:
        channels, height, width = input_shape
        raise InputError(
            f"model {name!r} cannot take images of {height}x{width} pixels and {channels} channels "
            f"({format_error(error)}); use another --model, or images of another size"
        ) from error


def _task_model(
    network: nn.Module,
    stages: tuple[str, ...],
    last: str | None,
    embedding_dim: int,
    n_classes: int,
    dropout: float | None,
) -> TaskModel:
    """Return the task model; ``last`` is the part that returns the embedding."""
    if len(stages) < 2 and last is not None:
        stages = (*stages, last)  # a network of tokens has feature maps only before its first block, if at all
    rate = DEFAULT_DROPOUT if dropout is None else dropout
    return TaskModel(AdaptedBackbone(network, stages), embedding_dim, n_classes, rate)
