"""Reads one array of an ``.npz``: memory-mapped inside the zip file, or decompressed into memory; verified first."""

from __future__ import annotations

import math
import struct
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from deepal_autoal.errors import InputError

_BLOCK_BYTES = 4 << 20
_LOCAL_HEADER = struct.Struct("<4s22xHH")


def read_member(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Return the array called ``name`` of an open archive, as a read-only `numpy.memmap` if it is uncompressed.

    Raises:
        InputError: If it holds Python objects, or its size is not what its header promises.
        ValueError, OSError, zipfile.BadZipFile: If the member cannot be read for another reason.
    """
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        version = npy.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{name} has the format version {version}")
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(member)
        start = member.tell()
    if dtype.hasobject:
        raise InputError(f"{path}: {name} holds Python objects, which are not read; save it with a plain dtype")
    if start + math.prod(shape) * dtype.itemsize != info.file_size:
        raise InputError(f"{path}: {name} does not hold the {shape} values its header promises; write the file again")
    if info.compress_type == zipfile.ZIP_STORED and info.file_size > start:
        with archive.open(info) as member:
            while member.read(_BLOCK_BYTES):  # at the end, the checksum is compared; a map would not be
                pass
        offset = _data_offset(path, info) + start
        return np.memmap(path, dtype, "r", offset, shape, order="F" if fortran else "C")
    with archive.open(info) as member:
        return np.asarray(npy.read_array(member, allow_pickle=False))


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Return where a member's bytes begin; its local header may differ in length from its directory entry."""
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        signature, n_name, n_extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if signature != b"PK\x03\x04":
        raise zipfile.BadZipFile(f"no local header for {info.filename}")
    return info.header_offset + _LOCAL_HEADER.size + int(n_name) + int(n_extra)
