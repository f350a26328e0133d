"""torchvision's image classifiers by name."""

from __future__ import annotations

from typing import Any

from deepal_autoal.errors import InputError, UnknownNameError
from deepal_autoal.models.adapted import adapt_classifier, first_convolution, take_channels
from deepal_autoal.models.pretrained import NONE, are_needed, load_torchvision_weights
from deepal_autoal.models.shapes import image_shape
from deepal_autoal.training.task_model import TaskModel

# These have auxiliary classifiers, once needed to train deep networks; a task model has only one classifier.
_WITHOUT_SIDE_CLASSIFIERS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


def build(
    input_shape: tuple[int, ...],
    n_classes: int,
    architecture: str,
    weights: str = NONE,
    dropout: float | None = None,
) -> TaskModel:
    """Return a classifier of torchvision as a task model.

    Args:
        input_shape: (C, H, W), any number of channels.
        n_classes: Number of outputs.
        architecture: Its name in torchvision, such as ``resnet50``.
        weights: ``none``, ``imagenet`` (the newest that torchvision has) or a torchvision name, such as
            ``IMAGENET1K_V1``. For one channel the first convolution is the sum over the three; for two, or more than
            three, it is not pretrained.
        dropout: Rate in front of the classifier; by default the architecture's own rate there, or 0.5.

    Raises:
        UnknownNameError: If torchvision has no such classifier, or no such weights.
        InputError: If it cannot take such images, has no final linear classifier, or its weights cannot be obtained.
    """
    import torchvision.models

    name = f"torchvision/{architecture}"
    shape = image_shape(name, input_shape)
    known = torchvision.models.list_models(module=torchvision.models)
    if architecture not in known:
        if architecture in torchvision.models.list_models():
            raise InputError(f"model {name!r} does not classify images, or is quantized; choose another --model")
        raise UnknownNameError("torchvision classifier", architecture, known)
    network = torchvision.models.get_model(
        architecture, weights=None, **_WITHOUT_SIDE_CLASSIFIERS.get(architecture, {})
    )
    first = first_convolution(name, network)
    take_channels(network, first, shape[0])
    model = adapt_classifier(name, network, shape, n_classes, dropout)
    if are_needed(weights):
        model.published = load_torchvision_weights(network, architecture, weights, first)
    return model
