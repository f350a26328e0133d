"""Finds a third-party network's classifier, the dropout in front of it and its stages with one dry pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deepal_autoal.errors import InputError, format_error
from deepal_autoal.numerics.random_streams import global_torch_seed

MOST_STAGES = 4

# Layers that only pass on or pool the output of a stage.
_PASSING = (
    nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Identity,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip


@dataclass(frozen=True)
class Pass:
    """The calls of one sample's pass through a network, in evaluation mode.

    Attributes:
        output: What the network returned.
        calls: Name, module, first input and output of every part, in the order in which parts finished.
    """

    output: Any
    calls: tuple[tuple[str, nn.Module, Any, Any], ...]


def dry_pass(name: str, network: nn.Module, input_shape: tuple[int, int, int]) -> Pass:
    """Pass an image of zeros through a network without side effects on gradients, statistics, modes or random state.

    Args:
        name: The model's name, for messages.
        network: A network on the CPU.
        input_shape: (C, H, W).

    Raises:
        InputError: If the network cannot take such images.
    """
    calls: list[tuple[str, nn.Module, Any, Any]] = []
    handles = [
        module.register_forward_hook(
            lambda part, inputs, output, path=path: calls.append((path, part, inputs[0] if inputs else None, output))
        )
        for path, module in network.named_modules()
        if path
    ]
    try:
        with _evaluating(network), torch.no_grad(), global_torch_seed(0):
            output = network(torch.zeros(1, *input_shape))
    except Exception as error:
        channels, height, width = input_shape
        raise InputError(
            f"model {name!r} cannot take images of {height}x{width} pixels and {channels} channels "
            f"({format_error(error)}); use another --model, or images of another size"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return Pass(output, tuple(calls))


def find_classifier(name: str, seen: Pass) -> str:
    """Return the name of the linear layer whose output is the network's.

    Raises:
        InputError: If there is none, or its input is not one feature vector per sample.
    """
    for path, module, inputs, output in reversed(seen.calls):
        if isinstance(module, nn.Linear) and output is seen.output:
            if isinstance(inputs, Tensor) and inputs.ndim == 2:
                return str(path)
            break
    raise InputError(
        f"model {name!r} does not end in a linear classifier of one feature vector per sample, so it has no "
        "embedding to use; choose another --model"
    )


def find_dropout(seen: Pass, classifier: str) -> str | None:
    """Return the name of the dropout whose output, perhaps reshaped, is the classifier's only input; or None."""
    names = [path for path, *_ in seen.calls]
    position = names.index(classifier)
    given = seen.calls[position][2]
    for path, module, _, output in reversed(seen.calls[:position]):
        if not _is_same_memory(output, given):
            return None
        if isinstance(module, nn.Dropout):
            return path if names.count(path) == 1 else None
        if not isinstance(module, nn.Flatten | nn.Identity) and not len(module._modules):
            return None  # a layer that works in place
    return None


def find_stages(seen: Pass, input_shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Return the names of the last parts at each resolution of the maps, at most the four lowest, in order.

    A part counts if its output is (n, C, H, W), has the image's proportions, and no later map is as large: a side
    branch with a small map, such as a gate on the channels, is not a stage. Parts inside a block that reduces the map
    (unless it is a sequence), and parts that only pool, drop or reshape, are not stages either. Maps with channels
    last, (n, H, W, C), do not count.
    """
    areas = {path: _area(output, input_shape) for path, _, _, output in seen.calls}
    blocks = {path for path, module, *_ in seen.calls if not isinstance(module, nn.Sequential)}
    stages: list[str] = []
    largest = 0
    for path, module, *_ in reversed(seen.calls):
        within = [block for block in _parents(path) if block in blocks]
        if isinstance(module, _PASSING) or any(areas[block] != areas[path] for block in within):
            continue
        if areas[path] > largest:
            largest = areas[path]
            stages.append(path)
    return tuple(reversed(stages[:MOST_STAGES]))


def _parents(path: str) -> Iterator[str]:
    while "." in path:
        path = path.rpartition(".")[0]
        yield path


def _area(output: Any, input_shape: tuple[int, int, int]) -> int:
    """Return the number of pixels of a map; 0 for anything that is not a map."""
    if not isinstance(output, Tensor) or output.ndim != 4:
        return 0
    (height, width), (_, full_height, full_width) = output.shape[2:], input_shape
    # Sides are rounded as maps are reduced, and borders are cut, so proportions are only roughly kept.
    is_map = abs(full_width * height / full_height - width) <= 1.0 + 0.1 * width
    return height * width if is_map else 0


def _is_same_memory(one: Any, other: Any) -> bool:
    return (
        isinstance(one, Tensor)
        and isinstance(other, Tensor)
        and one.numel() == other.numel()
        and one.data_ptr() == other.data_ptr()
    )


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Put all parts of a network into evaluation mode inside the block."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
