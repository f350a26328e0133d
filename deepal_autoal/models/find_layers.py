"""Finds a third-party network's classifier, the dropout in front of it and its stages, by `pass_zeros`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from deepal_autoal.errors import InputError
from deepal_autoal.training.zero_pass import PartCall

MOST_STAGES = 4

# Layers that only pass on or pool the output of a stage.
_PASSING = (
    nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Identity,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip


def find_classifier(name: str, calls: Sequence[PartCall]) -> str:
    """Return the name of the linear layer whose output is the network's.

    Raises:
        InputError: If there is none, or its input is not one feature vector per sample.
    """
    *parts, whole = calls
    for path, module, inputs, output in reversed(parts):
        if isinstance(module, nn.Linear) and output is whole.output:
            if isinstance(inputs, Tensor) and inputs.ndim == 2:
                return str(path)
            break
    raise InputError(
        f"model {name!r} does not end in a linear classifier of one feature vector per sample, so it has no "
        "embedding to use; choose another --model"
    )


def find_dropout(calls: Sequence[PartCall], classifier: str) -> str | None:
    """Return the name of the dropout whose output, perhaps reshaped, is the classifier's only input; or None."""
    names = [call.name for call in calls]
    position = names.index(classifier)
    given = calls[position].input
    for path, module, _, output in reversed(calls[:position]):
        if not _is_same_memory(output, given):
            return None
        if isinstance(module, nn.Dropout):
            return path if names.count(path) == 1 else None
        if not isinstance(module, nn.Flatten | nn.Identity) and not len(module._modules):
            return None  # a layer that works in place
    return None


def find_stages(calls: Sequence[PartCall], input_shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Return the names of the last parts at each resolution of the maps, at most the four lowest, in order.

    A part counts if its output is (n, C, H, W), has the image's proportions, and no later map is as large: a side
    branch with a small map, such as a gate on the channels, is not a stage. Parts inside a block that reduces the map
    (unless it is a sequence), and parts that only pool, drop or reshape, are not stages either. Maps with channels
    last, (n, H, W, C), do not count.
    """
    parts = calls[:-1]
    areas = {path: _area(output, input_shape) for path, _, _, output in parts}
    blocks = {path for path, module, *_ in parts if not isinstance(module, nn.Sequential)}
    stages: list[str] = []
    largest = 0
    for path, module, *_ in reversed(parts):
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
