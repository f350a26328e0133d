"""Checks of a model's input shape."""

from __future__ import annotations

from deepal_autoal.errors import InputError


def image_shape(model: str, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return an input shape as (C, H, W).

    Args:
        model: The model's name, for the message.
        input_shape: Shape of one sample.

    Raises:
        InputError: If it is not the shape of an image.
    """
    if len(input_shape) != 3:
        raise InputError(
            f"model {model!r} takes images, but these samples are feature vectors of shape {tuple(input_shape)}; "
            "use --model mlp or linear"
        )
    channels, height, width = input_shape
    return channels, height, width
