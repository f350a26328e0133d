"""timm's models by name, if timm is installed."""

from __future__ import annotations

from typing import Any, Literal

from deepal_autoal.errors import InputError, UnknownNameError, format_error
from deepal_autoal.models.adapted import adapt_embedder
from deepal_autoal.models.pretrained import NONE, are_needed
from deepal_autoal.models.shapes import image_shape
from deepal_autoal.training.task_model import Published, TaskModel


def build(
    input_shape: tuple[int, ...],
    n_classes: int,
    architecture: str,
    weights: Literal["none", "pretrained"] = NONE,
    dropout: float | None = None,
) -> TaskModel:
    """Return a model of timm (Wightman 2019, PyTorch image models) as a task model.

    Args:
        input_shape: (C, H, W), any number of channels.
        n_classes: Number of outputs.
        architecture: Its name in timm, such as ``resnet50`` or, for particular weights, ``resnet50.a1_in1k``.
        weights: ``none`` or ``pretrained``, for those that timm has for the name; timm itself adapts the first layer
            to the number of channels.
        dropout: Rate in front of the classifier, 0.5 by default.

    Raises:
        UnknownNameError: If timm has no such model.
        InputError: If timm is not installed, the model cannot take such images, or its weights cannot be obtained.
    """
    name = f"timm/{architecture}"
    shape = image_shape(name, input_shape)
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"model {name!r} needs timm ({format_error(error)}): install it with pip install timm, or "
            "choose another --model"
        ) from None
    if not timm.is_model(architecture):
        raise UnknownNameError("timm model", architecture, timm.list_models())
    pretrained = are_needed(weights)
    try:
        network = timm.create_model(architecture, pretrained=pretrained, num_classes=0, in_chans=shape[0])
    except Exception as error:
        if not pretrained:
            raise InputError(
                f"timm cannot create {architecture} ({format_error(error)}); choose another --model"
            ) from error
        raise InputError(
            f"the weights of {name} cannot be obtained ({format_error(error)}): build it once on a machine with a "
            "network, then copy Hugging Face's cache folder ($HF_HOME, by default ~/.cache/huggingface), or use "
            "weights=none"
        ) from error
    model = adapt_embedder(name, network, shape, n_classes, dropout)
    if pretrained:
        config: Any = network.pretrained_cfg
        model.published = Published(tuple(config["mean"]), tuple(config["std"]), int(config["input_size"][-1]))
    return model
