"""Conversion of what callers pass as arrays: lists, tensors, matrices; whatever has no clear meaning is refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepal_autoal.errors import InputError, error_message


def as_array(values: Any, what: str) -> np.ndarray:
    """Return values as a plain array, without copying if possible; memory maps stay memory maps.

    Args:
        values: An array, or anything that numpy converts to one: nested lists, a data frame, a tensor.
        what: Their name in messages, possibly after where they are and ``": "``.

    Raises:
        InputError: If they are ragged, sparse, masked, or a tensor that numpy cannot read.
    """
    if isinstance(values, np.ma.MaskedArray):
        return _unmasked(values, what)
    if isinstance(values, np.matrix):
        return np.asarray(values)
    if isinstance(values, np.ndarray):
        return values
    name = what.rpartition(": ")[2]
    if callable(getattr(values, "toarray", None)) and hasattr(values, "nnz"):
        raise InputError(f"{what} is a sparse {type(values).__name__}; give a dense array: {name}.toarray()")
    advice = _tensor_advice(values)
    if advice:
        raise InputError(f"{what} is a tensor {advice[0]}; give {name}{advice[1]}")
    try:
        return np.asarray(values)
    except MemoryError:
        raise
    except Exception as error:  # what a foreign type's conversion raises is up to it
        if isinstance(values, list | tuple) and "inhomogeneous" in str(error):
            raise InputError(f"{what} is ragged: give all of its rows the same shape and kind") from error
        raise InputError(
            f"{what} is {type(values).__name__}, which does not convert to an array ({error_message(error)}); give a "
            "numpy array"
        ) from error


def _unmasked(values: np.ma.MaskedArray, what: str) -> np.ndarray:
    mask = np.ma.getmaskarray(values)
    if mask.any():
        row = int(np.argwhere(mask)[0][0]) if mask.ndim else 0
        raise InputError(
            f"{what} is a masked array with {int(mask.sum())} masked values, first in row {row}: leave out or fill in "
            "what is missing"
        )
    return np.asarray(values.data)


def _tensor_advice(values: Any) -> tuple[str, str] | None:
    """Return what keeps numpy from reading a tensor, and the method calls that help."""
    if type(values).__module__.partition(".")[0] != "torch" or not hasattr(values, "requires_grad"):
        return None
    if str(values.layout) != "torch.strided":
        return "that is sparse", ".to_dense()"
    if values.requires_grad:
        return "that carries gradients", ".detach()"
    if values.device.type != "cpu":
        return f"on {values.device}", ".cpu()"
    if str(values.dtype) == "torch.bfloat16":
        return "of bfloat16, which numpy lacks", ".float()"
    return None
