"""Reads arrays of an ``.npz``: memory-mapped inside the zip file, or decompressed into memory.

The checksum of a mapped array, which takes a pass over it, is verified by `verify_member`.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from deepal_autoal.errors import InputError
from deepal_autoal.measuring.resources import memory_size

_SMALL_BYTES = 256 << 20
_HIGHEST_RATIO = 200
_BLOCK_BYTES = 4 << 20
_LOCAL_HEADER = struct.Struct("<4s22xHH")


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive; whatever is raised inside the block, because the file is damaged, becomes an `InputError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{path} does not fit into memory; save it uncompressed (numpy.savez) to have it memory-mapped"
        ) from error
    except Exception as error:  # damaged headers raise anything, from tokenize's errors to RecursionError
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path} cannot be read as .npz ({reason}); write it again with numpy.savez") from error


def member_names(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an open archive by the names of their arrays; ``.npy`` may be missing in the archive.

    Raises:
        InputError: If two members hold the array of one name.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise InputError(f"{path} holds the array {name} twice; write the file again with numpy.savez")
        members[name] = info
    return members


def read_members(path: Path, archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> dict[str, np.ndarray]:
    """Return arrays of an open archive, as read-only `numpy.memmap` where they are uncompressed.

    Args:
        path: The archive's file.
        archive: The archive.
        members: Where the arrays are, by name (see `member_names`).

    Raises:
        InputError: If one holds Python objects, its size is not what its header promises, or, before anything is
            read, if they would not fit into memory or their compressed bytes do not bear out their size.
        Exception: Anything, if a member is damaged in another way; damage to the values of a mapped array is noticed
            by `verify_member` only.
    """
    _check_sizes(path, members)
    return {name: _read_member(path, archive, name, info) for name, info in members.items()}


def verify_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Read a member through.

    Raises:
        zipfile.BadZipFile: If its content does not match its checksum.
    """
    with archive.open(info) as member:
        while member.read(_BLOCK_BYTES):  # at the end, the checksum is compared
            pass


def _check_sizes(path: Path, members: Mapping[str, zipfile.ZipInfo]) -> None:
    file_bytes = path.stat().st_size
    for name, info in members.items():
        if info.compress_size > file_bytes:
            raise InputError(f"{path}: {name} is larger than the whole file; write the file again")
        if info.compress_type == zipfile.ZIP_STORED:
            if info.file_size != info.compress_size:
                raise InputError(f"{path}: {name} is not as large as its header promises; write the file again")
        elif info.file_size > max(_SMALL_BYTES, _HIGHEST_RATIO * info.compress_size):
            raise InputError(
                f"{path}: {name} would grow from {info.compress_size:,} to {info.file_size:,} bytes when decompressed, "
                "more than real data do; save it uncompressed (numpy.savez)"
            )
    needed = sum(info.file_size for info in members.values() if info.compress_type != zipfile.ZIP_STORED)
    if needed > memory_size():
        raise InputError(
            f"{path} needs {needed:,} bytes of memory when decompressed, more than this machine has; save it "
            "uncompressed (numpy.savez) to have it memory-mapped"
        )


def _read_member(path: Path, archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as member:
        version = npy.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{name} has the format version {version}")
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(member)
        start = member.tell()
    if dtype.hasobject:
        raise InputError(f"{path}: {name} holds Python objects, not numbers or texts: save it as an array of these")
    if start + math.prod(shape) * dtype.itemsize != info.file_size:
        raise InputError(f"{path}: {name} does not hold the {shape} values its header promises; write the file again")
    if info.compress_type == zipfile.ZIP_STORED and info.file_size > start:
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
