"""Writes a dataset's arrays as an uncompressed ``.npz``, block by block: no array is held in memory as a whole."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from deepal_autoal.datasets.files.array_cache import ArrayBlocks
from deepal_autoal.errors import InputError
from deepal_autoal.files import replacing


def write_npz(path: Path, arrays: Mapping[str, ArrayBlocks | np.ndarray]) -> None:
    """Write a file that `numpy.load` reads and `load_npz` maps; it appears whole or not at all.

    Args:
        path: The file; an existing one is replaced.
        arrays: Arrays by name; blocks are iterated over once and must hold as many rows as their shape says.

    Raises:
        InputError: If the file cannot be written. Errors of the blocks pass through.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                blocks = array if isinstance(array, ArrayBlocks) else ArrayBlocks(array.shape, array.dtype, [array])
                _write_member(archive, name, blocks)
    except OSError as error:
        raise _unwritable(path, error) from error


def _write_member(archive: zipfile.ZipFile, name: str, array: ArrayBlocks) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = {"descr": npy.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
        npy.write_array_header_1_0(member, header)
        for block in array.blocks:
            member.write(np.ascontiguousarray(block, dtype=array.dtype).reshape(-1).view(np.uint8).data)


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be written ({error.strerror or error}); choose another --out")
