"""Pickled dicts of lists, texts and arrays, as CIFAR's files are, read without running anything that they name."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import IO, Any

import numpy as np

from deepal_autoal.errors import InputError, message_of

_DTYPE = re.compile(r"[iuf][1248]")


class _Dtype:
    """What a file says of a dtype."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else code
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        self.order = order.decode("latin1") if isinstance(order, bytes) else order

    def made(self) -> np.dtype:
        if not (isinstance(self.code, str) and _DTYPE.fullmatch(self.code) and self.order in ("|", "<", ">", "=")):
            raise ValueError("it holds an array of something else than numbers")
        return np.dtype(f"{self.order}{self.code}")


class _Array:
    """What a file says of an array.

    numpy's own reconstruction trusts flags in the file as far as taking its bytes for addresses of objects.
    """

    state: tuple[Any, ...]

    def __setstate__(self, state: Any) -> None:
        _, *self.state = state  # the first is the format's version

    def made(self) -> np.ndarray:
        shape, dtype, fortran, data = self.state
        if not (isinstance(dtype, _Dtype) and isinstance(data, bytes | bytearray)):
            raise ValueError("it holds an array of something else than numbers")
        array = np.frombuffer(data, dtype.made())
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
    """Turn text into the bytes that it stands for: protocols before 3 have no bytes of their own."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("it holds bytes in an unknown form")
    return text.encode("latin1")


# By the names that versions of numpy have given them.
_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _from_buffer


class _RefusedError(Exception):
    """The file names what an array file does not need."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None


def read_plain_pickle(path: Path, file: IO[bytes]) -> dict[str, Any]:
    """Return the pickled dict of an open file, with text for keys and read-only arrays of numbers among the values.

    Texts of files from Python 2 are bytes. Whatever the file names, nothing of it is imported or called.

    Args:
        path: What messages call the file.

    Raises:
        InputError: If it is damaged, no such dict, or names anything but arrays of numbers.
    """
    try:
        content = _Unpickler(file, encoding="bytes").load()
        if not isinstance(content, dict):
            raise ValueError(f"it holds no dict but {type(content).__name__}")
        return {
            key.decode("latin1") if isinstance(key, bytes) else str(key): value.made()
            if isinstance(value, _Array)
            else value
            for key, value in content.items()
        }
    except _RefusedError as error:
        raise InputError(
            f"{path} asks for {str(error)[:80]!r}, which data have no need of, and is not read; remove it and get it "
            "anew from where you trust"
        ) from None
    except Exception as error:  # damaged pickles raise what they like, from EOFError to OverflowError
        raise InputError(
            f"{path} cannot be read as a pickle ({message_of(error)}); remove it and get it anew"
        ) from error
