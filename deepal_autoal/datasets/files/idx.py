"""MNIST's IDX files, plain or gzip-compressed."""

# torchvision's reader needs extracted files, holds them in memory twice, and its errors do not name the file.

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np

from deepal_autoal.errors import InputError

_UNSIGNED_BYTES = 8
_CHUNK_BYTES = 16 << 20


def read_idx(path: Path, n_dims: int) -> np.ndarray:
    """Return the uint8 array of an IDX file; a plain file is memory-mapped, a ``.gz`` decompressed into memory.

    Raises:
        InputError: If the file is unreadable, is not an IDX file of unsigned bytes with ``n_dims`` dimensions, or is
            shorter or longer than its header says.
    """
    try:
        if path.suffix == ".gz":
            with open(path, "rb") as file:
                return read_packed_idx(path, file, n_dims)
        with open(path, "rb") as file:
            shape = _read_header(path, file, n_dims)
            offset = file.tell()
        _check_length(path, path.stat().st_size - offset, shape)
        return np.memmap(path, np.uint8, "r", offset, shape)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); delete it and download it again") from error


def read_packed_idx(path: Path, file: IO[bytes], n_dims: int) -> np.ndarray:
    """Return the uint8 array of a gzip-compressed IDX file, read from an open file.

    Args:
        path: Name of the file in messages.

    Raises:
        InputError: As for `read_idx`.
        OSError, EOFError, zlib.error: If the file cannot be read or decompressed.
    """
    with gzip.open(file) as packed:
        shape = _read_header(path, cast(BinaryIO, packed), n_dims)
        data = _read_at_most(packed, math.prod(shape) + 1)  # one more, to detect excess bytes
    _check_length(path, len(data), shape)
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_header(path: Path, file: BinaryIO, n_dims: int) -> tuple[int, ...]:
    expected = bytes((0, 0, _UNSIGNED_BYTES, n_dims))
    header = file.read(4 + 4 * n_dims)
    if header[:4] != expected[: len(header)]:
        raise InputError(
            f"{path} is not an IDX file of unsigned bytes with {n_dims} dimensions (it begins with {header[:4].hex()}, "
            f"not {expected.hex()}); delete it and download it again"
        )
    if len(header) < 4 + 4 * n_dims:
        raise InputError(f"{path} is truncated: it ends within its header; delete it and download it again")
    shape: tuple[int, ...] = struct.unpack(f">{n_dims}I", header[4:])
    if 0 in shape:
        raise InputError(f"{path} holds no data: its header says {shape}; delete it and download it again")
    return shape


def _read_at_most(file: gzip.GzipFile, n_bytes: int) -> bytearray:
    """Read up to ``n_bytes`` in chunks: a single call would allocate whatever a damaged header promises."""
    data = bytearray()
    while len(data) < n_bytes and (chunk := file.read(min(_CHUNK_BYTES, n_bytes - len(data)))):
        data += chunk
    return data


def _check_length(path: Path, n_bytes: int, shape: tuple[int, ...]) -> None:
    expected = math.prod(shape)
    if n_bytes != expected:
        found = f"only {n_bytes}" if n_bytes < expected else "more"
        state = "truncated" if n_bytes < expected else "damaged"
        raise InputError(
            f"{path} is {state}: its header says {shape}, {expected} bytes, but {found} follow; delete it and "
            "download it again"
        )
