"""Large arrays built once, kept in a cache folder, and memory-mapped from then on.

A file holds an array in numpy's format, which ignores what follows, and then the CRC-32 of all that: a damaged file is
noticed before it is mapped, and built again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from deepal_autoal.errors import InputError
from deepal_autoal.files import TEMPORARY_SUFFIX, remove_leftovers, replacing
from deepal_autoal.user_paths import user_path

CACHE_VARIABLE = "DEEPAL_CACHE"
FREE_SPACE_MARGIN = 64 << 20
_CHECKSUM_BYTES = 4
_READ_BYTES = 4 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArrayBlocks:
    """An array still to be built: its shape, its dtype, and its rows block by block, in order."""

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Iterable[np.ndarray]

    @property
    def nbytes(self) -> int:
        """The size of the whole array."""
        return math.prod(self.shape) * self.dtype.itemsize


def cache_folder() -> Path:
    """Return the folder that the environment variable ``DEEPAL_CACHE`` names, else the platform's user cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return user_path(chosen, CACHE_VARIABLE)
    import platformdirs

    return Path(platformdirs.user_cache_dir("deepal_autoal", appauthor=False))


def cached_array(origin: Path, key: str, n_rows: int, make: Callable[[], ArrayBlocks]) -> np.ndarray:
    """Return the array of a key, memory-mapped read-only from the cache; a missing one is built first.

    A file appears whole or not at all (temporary file, fsync, `os.replace`); if several processes need it, one writes
    it and the others wait. Each origin keeps one file: older ones are removed. If the cache is full or cannot be
    written, the array is built in memory, with a warning.

    Args:
        origin: The folder or file that the array is built from.
        key: Hex digest of everything that determines the contents.
        n_rows: The expected length; a file of another length is rebuilt.
        make: Builds the array; called again for every attempt.

    Raises:
        InputError: If the array fits neither the cache nor memory. Errors of ``make`` pass through.
    """
    folder = cache_folder()
    prefix = hashlib.blake2b(os.fsencode(os.path.realpath(origin)), digest_size=8).hexdigest()
    path = folder / f"{prefix}-{key}.npy"
    found = _open(path, n_rows)
    if found is not None:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _one_process(path):
            found = _open(path, n_rows)
            if found is None:
                _write(path, make())
                found = _open(path, n_rows, is_new=True)
                _remove_older(path, prefix)
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        logger.warning("%s cannot be cached in %s (%s): it is kept in memory", origin, folder, error)
    return found if found is not None else _in_memory(origin, make())


def _open(path: Path, n_rows: int, is_new: bool = False) -> np.ndarray | None:
    """Return the array in a file, verified unless it has just been written, or None."""
    try:
        if not path.is_file():
            return None
        if not (is_new or _is_whole(path)):
            logger.warning("the cached array %s is damaged, or of an earlier version: it is rebuilt", path)
            return None
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        logger.warning("the cached array %s cannot be read (%s): it is rebuilt", path, error)
        return None
    return array if array.ndim and len(array) == n_rows else None


def _is_whole(path: Path) -> bool:
    checksum, left = 0, path.stat().st_size - _CHECKSUM_BYTES
    with open(path, "rb") as file:
        while left > 0 and (block := file.read(min(left, _READ_BYTES))):
            checksum = zlib.crc32(block, checksum)
            left -= len(block)
        return file.read() == checksum.to_bytes(_CHECKSUM_BYTES, "big")


@contextlib.contextmanager
def _one_process(path: Path) -> Iterator[None]:
    import filelock

    lock = filelock.FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=1)
    except filelock.Timeout:
        logger.info("waiting for another process that is writing %s", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _write(path: Path, source: ArrayBlocks) -> None:
    remove_leftovers(path.parent.glob(f".{path.name}.*{TEMPORARY_SUFFIX}"))  # of a killed process: we hold the lock
    if shutil.disk_usage(path.parent).free < source.nbytes + FREE_SPACE_MARGIN:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {_size(source.nbytes)} needed")
    # Plain writes, not a writable memory map: on a full disk a write raises, a map kills the process.
    with replacing(path) as file:
        summed = _Summed(file)
        header = {"descr": npy.dtype_to_descr(source.dtype), "fortran_order": False, "shape": source.shape}
        npy.write_array_header_1_0(summed, header)
        for block in source.blocks:
            summed.write(np.ascontiguousarray(block, dtype=source.dtype).reshape(-1).view(np.uint8).data)
        file.write(summed.checksum.to_bytes(_CHECKSUM_BYTES, "big"))


class _Summed:
    """Writes to a file and keeps the CRC-32 of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.checksum = 0

    def write(self, content: bytes | memoryview) -> int:
        self.checksum = zlib.crc32(content, self.checksum)
        return self._file.write(content)


def _remove_older(path: Path, prefix: str) -> None:
    for other in path.parent.glob(f"{prefix}-*"):
        if other.stem.split(".")[0] != path.stem:
            # Windows refuses while another process maps the file; the next change to the data tries again.
            with contextlib.suppress(OSError):
                other.unlink()


def _in_memory(origin: Path, source: ArrayBlocks) -> np.ndarray:
    try:
        array = np.empty(source.shape, source.dtype)
    except MemoryError as error:
        raise InputError(
            f"{origin} needs {_size(source.nbytes)}, more than memory holds; set {CACHE_VARIABLE} to a folder with "
            "that much space"
        ) from error
    start = 0
    for block in source.blocks:
        array[start : start + len(block)] = block
        start += len(block)
    array.flags.writeable = False
    return array


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"
