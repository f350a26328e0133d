"""A user's `torch.nn.Module` as a task model: its layers stay as they are; only its embedding is found."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from deepal_autoal.errors import InputError, format_error
from deepal_autoal.models.adapted import AdaptedBackbone, replace_part
from deepal_autoal.models.find_layers import find_classifier, find_dropout, find_stages
from deepal_autoal.training.task_model import TaskModel
from deepal_autoal.training.zero_pass import PartCall, pass_zeros

LAYER = "embedding_layer"


def as_task_model(name: str, network: Any, input_shape: tuple[int, ...], n_classes: int) -> TaskModel:
    """Return the task model of a network, which may be one already.

    The embedding is the input of the last layer, a linear classifier, and dropout directly in front of it is that of
    the task model. An attribute ``embedding_layer`` of an `nn.Sequential` names another part whose output it is; all
    parts behind it are then the head.

    Args:
        name: The model's name, for messages.
        network: Maps (n, C, H, W) or (n, D) to logits (n, n_classes).
        input_shape: (C, H, W) or (D,).
        n_classes: Number of outputs.

    Raises:
        InputError: If it cannot take such inputs, returns something else, or has no such layers.
    """
    if isinstance(network, TaskModel):
        return network
    if not isinstance(network, nn.Module):
        raise InputError(f"model {name!r} returned {type(network).__name__}; return a torch.nn.Module")
    if isinstance(network, nn.Linear):
        network = nn.Sequential(network)  # of which it is the last part
    try:
        calls = pass_zeros(network, input_shape)
    except Exception as error:
        raise InputError(
            f"model {name!r} cannot take inputs (n, {', '.join(map(str, input_shape))}): {format_error(error)}; let it "
            "take input_shape, or give other data"
        ) from error
    output = calls[-1].output
    if not isinstance(output, torch.Tensor) or tuple(output.shape) != (1, n_classes):
        got = f"shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
        raise InputError(
            f"model {name!r} returns {got} for one input, but the data have {n_classes} classes: return logits "
            f"(n, {n_classes}), or let it take n_classes"
        )
    layer = getattr(network, LAYER, None)
    if layer is not None:
        return _split(name, network, calls, str(layer), n_classes)
    if len(calls) > 1 and isinstance(calls[-2].part, nn.Softmax | nn.LogSoftmax | nn.Sigmoid):
        raise InputError(f"model {name!r} ends in {type(calls[-2].part).__name__}: leave it out and return logits")
    try:
        classifier = find_classifier(name, calls)
    except InputError as error:
        raise InputError(
            f"model {name!r} does not end in an nn.Linear of one vector per sample, so its embedding is not known: let "
            "it return such a layer's output, without a softmax, or make it an nn.Sequential with the attribute "
            f"{LAYER}"
        ) from error
    head = cast("nn.Linear", network.get_submodule(classifier))
    place = find_dropout(calls, classifier)
    rate = 0.0
    if place is not None:
        rate = cast("nn.Dropout", network.get_submodule(place)).p
        replace_part(network, place, nn.Identity())
    replace_part(network, classifier, nn.Identity())
    stages = find_stages(calls, input_shape) if len(input_shape) == 3 else ()
    model = TaskModel(AdaptedBackbone(network, stages), head.in_features, n_classes, rate)
    model.head = head
    return model


def _split(name: str, network: nn.Module, calls: list[PartCall], layer: str, n_classes: int) -> TaskModel:
    """Return the task model of a sequence whose embedding is the output of one of its parts."""
    names = [part for part, _ in network.named_children()]
    if not isinstance(network, nn.Sequential) or layer not in names[:-1]:
        raise InputError(
            f"model {name!r}: {LAYER} is {layer!r}; it must name a part of an nn.Sequential that is not the last "
            f"({', '.join(names[:-1])})"
        )
    output = next(call.output for call in calls if call.name == layer)
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        raise InputError(f"model {name!r}: {LAYER} {layer!r} does not return one vector per sample; name another part")
    position = names.index(layer) + 1
    parts = list(network)
    model = TaskModel(AdaptedBackbone(nn.Sequential(*parts[:position]), ()), output.shape[1], n_classes, 0.0)
    model.head = nn.Sequential(*parts[position:])
    return model
