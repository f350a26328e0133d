"""What the parts of a backbone take in and give out, found by passing one sample of zeros."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from deepal_autoal import InputError

if TYPE_CHECKING:
    from torch import nn

    from deepal_autoal import TaskModel


def dry_run(model: TaskModel, names: Iterable[str]) -> dict[str, tuple[Any, Any]]:
    """Return the first input and the output of parts of ``model.backbone`` for one sample.

    A copy is run, in evaluation mode: neither BatchNorm statistics nor modes of the model change.

    Args:
        model: The task model.
        names: Names of the parts, as of ``model.backbone.named_modules()``.

    Returns:
        ``{name: (input, output)}`` of the parts that the sample passed through, in the order of the pass; of a
        part that ran twice, the last. Values mean nothing, only shapes do.

    Raises:
        InputError: If the model does not say what its inputs are.
    """
    if not model.input_shape:
        raise InputError("the model does not say the shape of its inputs; set its input_shape, as build_model does")
    backbone = copy.deepcopy(model.backbone).eval()
    seen: dict[str, tuple[Any, Any]] = {}
    for name in names:
        _watch(backbone.get_submodule(name), name, seen)
    weight = next(backbone.parameters(), None)
    with torch.no_grad():
        backbone(torch.zeros(1, *model.input_shape, device=None if weight is None else weight.device))
    return seen


def _watch(part: nn.Module, name: str, seen: dict[str, tuple[Any, Any]]) -> None:
    def remember(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        seen[name] = (inputs[0], output)

    part.register_forward_hook(remember)
