"""A forward pass of zeros, which shows what the parts of a network take and return."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from deepal_autoal.errors import InputError
from deepal_autoal.numerics.random_streams import global_torch_seed


class PartCall(NamedTuple):
    """One call of a part of a network, or of the network itself.

    Attributes:
        name: The part's name, as in ``network.named_modules()``; empty for the network.
        part: The part.
        input: Its first argument; None if it has only keyword arguments.
        output: What it returned.
    """

    name: str
    part: nn.Module
    input: Any
    output: Any


def pass_zeros(network: nn.Module, input_shape: tuple[int, ...]) -> list[PartCall]:
    """Pass one sample of zeros through a network, and record what its parts take and return.

    It runs in evaluation mode, on the device of the network's weights, and has no side effects on gradients,
    statistics, modes or random state. Shapes matter, values do not.

    Args:
        network: Takes inputs (n, ...).
        input_shape: Shape of one input, (C, H, W) or (D,), such as a model's ``input_shape``.

    Returns:
        The calls in the order in which they finished; the network's own is the last.

    Raises:
        InputError: If the shape is empty, as it is for a model that `build_model` did not build.
    """
    if not input_shape:
        raise InputError("the shape of the model's inputs is unknown; set its input_shape, as build_model does")
    calls: list[PartCall] = []

    def record(name: str, part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls.append(PartCall(name, part, inputs[0] if inputs else None, output))

    weight = next(network.parameters(), torch.empty(0))
    handles = [
        part.register_forward_hook(lambda part, inputs, output, name=name: record(name, part, inputs, output))
        for name, part in network.named_modules()
    ]
    try:
        with _evaluating(network), torch.no_grad(), global_torch_seed(0, weight.device):
            network(torch.zeros(1, *input_shape, device=weight.device))
    finally:
        for handle in handles:
            handle.remove()
    return calls


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Put all parts of a network into evaluation mode inside the block."""
    before = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for part, training in before:
            part.training = training
