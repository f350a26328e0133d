"""Inputs and outputs of a backbone's parts, found by passing one sample of zeros."""

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

    A copy runs, in evaluation mode: neither the model's BatchNorm statistics nor its modes change.

    Args:
        model: The task model.
        names: Names of the parts, as in ``model.backbone.named_modules()``.

    Returns:
        ``{name: (input, output)}`` of the parts that the sample passed through, in the order of the pass; for a
        part that ran twice, those of the last run. Only shapes matter, not values.

    Raises:
        InputError: If the model has no ``input_shape``.
    """
    if not model.input_shape:
        raise InputError("the shape of the model's inputs is unknown; set its input_shape, as build_model does")
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
