"""Writes a dataset's arrays as an uncompressed ``.npz``, block by block, so that none is held whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from deepal_autoal.datasets.array_cache import ArrayBlocks
from deepal_autoal.errors import InputError


def write_npz(path: Path, arrays: Mapping[str, ArrayBlocks | np.ndarray]) -> None:
    """Write a file that `numpy.load` reads and `load_npz` maps; it appears whole or not at all.

    Args:
        path: Where; a file that lies there is replaced.
        arrays: By name; of blocks, iterated over once, as many rows as their shape says.

    Raises:
        InputError: If the file cannot be written. What making the blocks raises is passed on.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for name, array in arrays.items():
                    blocks = array if isinstance(array, ArrayBlocks) else ArrayBlocks(array.shape, array.dtype, [array])
                    _write_member(archive, name, blocks)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # temporary files are their owner's alone
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise


def _write_member(archive: zipfile.ZipFile, name: str, array: ArrayBlocks) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = {"descr": npy.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
        npy.write_array_header_1_0(member, header)
        for block in array.blocks:
            member.write(np.ascontiguousarray(block, dtype=array.dtype).reshape(-1).view(np.uint8).data)


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be written ({error.strerror or error}); choose another --out")
