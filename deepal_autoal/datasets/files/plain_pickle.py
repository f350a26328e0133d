"""Reads pickled dicts of lists, strings and arrays, such as CIFAR's files, without running anything they name."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import IO, Any

import numpy as np

from deepal_autoal.errors import InputError, error_message

_DTYPE = re.compile(r"[iuf][1248]")


class _Dtype:
    """A dtype as a file describes it."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else code
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        self.order = order.decode("latin1") if isinstance(order, bytes) else order

    def build(self) -> np.dtype:
        if not (isinstance(self.code, str) and _DTYPE.fullmatch(self.code) and self.order in ("|", "<", ">", "=")):
            raise ValueError("it holds an array of something other than numbers")
        return np.dtype(f"{self.order}{self.code}")


class _Array:
    """An array as a file describes it.

    numpy's own reconstruction trusts flags in the file, even those that turn its bytes into object addresses.
    """

    state: tuple[Any, ...]

    def __setstate__(self, state: Any) -> None:
        _, *self.state = state  # the first is the format's version

    def build(self) -> np.ndarray:
        shape, dtype, fortran, data = self.state
        if not (isinstance(dtype, _Dtype) and isinstance(data, bytes | bytearray)):
            raise ValueError("it holds an array of something other than numbers")
        array = np.frombuffer(data, dtype.build())
        return array.reshape(tuple(shape), order="F" if fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> _Array:
    if order not in ("C", "F"):
        raise ValueError("it holds an array in an unknown order")
    array = _Array()
    array.state = (shape, dtype, order == "F", data)
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    """Turn text into the bytes that it encodes: protocols before 3 have no type for bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("it holds bytes in an unknown form")
    return text.encode("latin1")


# Keyed by the names that different versions of numpy write.
_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _from_buffer


class _RefusedError(Exception):
    """The file names something that an array file does not need."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None


def read_plain_pickle(path: Path, file: IO[bytes]) -> dict[str, Any]:
    """Return the pickled dict of an open file, with string keys; arrays of numbers among the values are read-only.

    Strings in files from Python 2 are bytes. Nothing that the file names is imported or called.

    Args:
        path: Name of the file in messages.

    Raises:
        InputError: If it is damaged, is not such a dict, or names anything but arrays of numbers.
    """
    try:
        content = _Unpickler(file, encoding="bytes").load()
        if not isinstance(content, dict):
            raise ValueError(f"it holds {type(content).__name__}, not a dict")
        return {
            key.decode("latin1") if isinstance(key, bytes) else str(key): value.build()
            if isinstance(value, _Array)
            else value
            for key, value in content.items()
        }
    except _RefusedError as error:
        raise InputError(
            f"{path} asks for {str(error)[:80]!r}, which data do not need, and is not read; delete it and download it "
            "again from a source that you trust"
        ) from None
    except Exception as error:  # damaged pickles raise anything, from EOFError to OverflowError
        raise InputError(
            f"{path} cannot be read as a pickle ({error_message(error)}); delete it and download it again"
        ) from error
