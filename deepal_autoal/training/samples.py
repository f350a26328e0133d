"""The form of samples: images with channels last, or feature vectors. Every way into the package checks it here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.errors import InputError
from deepal_autoal.numerics.arrays import as_array
from deepal_autoal.numerics.row_blocks import first_unusable_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_USUAL_CHANNELS = 4


@dataclass(frozen=True, eq=False)
class CheckedSamples:
    """Read-only samples of a `Dataset`, which has checked them: an array larger than memory is not read again.

    Attributes:
        array: Images uint8 (N, H, W, C), or finite vectors floating (N, D).
    """

    array: NDArray[Any]


def as_samples(samples: Any, what: str) -> NDArray[Any]:
    """Return samples in the array form that the engine uses, without copying if possible.

    Args:
        samples: Images uint8 (N, H, W) or (N, H, W, C), or feature vectors floating (N, D); or `CheckedSamples`.
        what: Their name in messages.

    Raises:
        InputError: If they are neither, empty, or not finite, or their channels come first.
    """
    if isinstance(samples, CheckedSamples):
        return samples.array
    array = as_array(samples, what)
    if array.ndim == 3 and array.dtype == np.uint8:
        array = array[..., np.newaxis]
    is_image = array.ndim == 4 and array.dtype == np.uint8
    if array.dtype.kind == "f" and not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    is_vector = array.ndim == 2 and array.dtype in (np.float16, np.float32, np.float64)
    if not (is_image or is_vector):
        raise InputError(
            f"{what} has shape {array.shape} and type {array.dtype}; give images as uint8 (N, H, W[, C]) "
            "or feature vectors as floats (N, D)"
        )
    if not array.size:
        raise InputError(f"{what} is empty")
    if is_image:
        check_channels_last(array, what)
    if is_vector:
        row = first_unusable_row(array)
        if row is not None:
            raise InputError(f"{what} holds NaN, infinite or beyond-float32 values, first in row {row}")
    return array


def check_channels_last(images: NDArray[Any], what: str) -> None:
    """Refuse images (N, C, H, W): read as (N, H, W, C), they would be stripes with as many channels as columns.

    They are recognized by a second axis that is the shortest, or by a square in the last two axes alone; a last axis
    of at most four is taken as the channels. Nothing tells small images of many bands from them; with height and width
    swapped, those are taken whatever their sizes: neither the shortest axis is the second then, nor are the last equal.

    Args:
        images: (N, H, W, C).
        what: Their name in messages, possibly after where they are and ``": "``.

    Raises:
        InputError: If the channels seem to come first.
    """
    name = what.rpartition(": ")[2]
    _, first, second, last = images.shape
    if (
        last > _MOST_USUAL_CHANNELS
        and second > _MOST_USUAL_CHANNELS
        and (first < min(second, last) or second == last != first)
    ):
        raise InputError(
            f"{what} is {images.dtype} {images.shape}, which looks like channels first, (N, C, H, W); give channels "
            f"last, (N, H, W, C): {name}.transpose(0, 2, 3, 1); or, if it has {last} channels and they are last, swap "
            f"height and width: {name}.transpose(0, 2, 1, 3)"
        )
