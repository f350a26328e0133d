"""Large arrays made once, kept in a cache folder, and memory-mapped from then on."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from deepal_autoal.errors import InputError

CACHE_VARIABLE = "DEEPAL_CACHE"
FREE_SPACE_MARGIN = 64 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArrayBlocks:
    """An array still to be made: its shape and dtype, and its rows block by block, in order."""

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Iterable[np.ndarray]

    @property
    def nbytes(self) -> int:
        """The size of the whole array."""
        return math.prod(self.shape) * self.dtype.itemsize


def cache_folder() -> Path:
    """Return the environment variable ``DEEPAL_CACHE``'s folder, else the platform's user cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("deepal_autoal", appauthor=False))


def cached_array(origin: Path, key: str, n_rows: int, make: Callable[[], ArrayBlocks]) -> np.ndarray:
    """Return the array of a key: read-only memory-mapped from the cache, made first if it is not there.

    A file appears whole or not at all (temporary file, fsync, `os.replace`); of several processes one makes it
    and the others wait. An origin keeps one file: older ones are removed. Where the cache cannot be written or is
    full, the array is made in memory, with a warning.

    Args:
        origin: What the array is made of (a folder or file).
        key: Hex digest of everything that decides the contents.
        n_rows: The expected length; a file of another length is made anew.
        make: Called to make the array, again for every attempt.

    Raises:
        InputError: If it fits neither the cache nor memory. What ``make`` raises is passed on.
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
                found = _open(path, n_rows)
                _remove_older(path, prefix)
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        logger.warning("%s cannot be cached in %s (%s): it is kept in memory", origin, folder, error)
    return found if found is not None else _in_memory(origin, make())


def _open(path: Path, n_rows: int) -> np.ndarray | None:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        logger.warning("the cached array %s cannot be read (%s): it is made anew", path, error)
        return None
    return array if array.ndim and len(array) == n_rows else None


@contextlib.contextmanager
def _one_process(path: Path) -> Iterator[None]:
    import filelock

    lock = filelock.FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=1)
    except filelock.Timeout:
        logger.info("waiting for another process that is making %s", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _write(path: Path, made: ArrayBlocks) -> None:
    for orphan in path.parent.glob(f"{path.stem}.*.tmp"):  # of a killed process: we hold the lock
        orphan.unlink(missing_ok=True)
    if shutil.disk_usage(path.parent).free < made.nbytes + FREE_SPACE_MARGIN:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {_size(made.nbytes)} needed")
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.", suffix=".tmp")
    try:
        # Plain writes, not a writable memory map: on a full disk those raise, a map kills the process.
        with os.fdopen(descriptor, "wb") as file:
            header = {"descr": npy.dtype_to_descr(made.dtype), "fortran_order": False, "shape": made.shape}
            npy.write_array_header_1_0(file, header)
            for block in made.blocks:
                file.write(np.ascontiguousarray(block, dtype=made.dtype).reshape(-1).view(np.uint8).data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _remove_older(path: Path, prefix: str) -> None:
    for other in path.parent.glob(f"{prefix}-*"):
        if other.stem.split(".")[0] != path.stem:
            # Windows refuses while another process maps the file; the next change of the data tries again.
            with contextlib.suppress(OSError):
                other.unlink()


def _in_memory(origin: Path, made: ArrayBlocks) -> np.ndarray:
    try:
        array = np.empty(made.shape, made.dtype)
    except MemoryError as error:
        raise InputError(
            f"{origin} needs {_size(made.nbytes)}, more than memory holds; set {CACHE_VARIABLE} to a folder with "
            "that much space"
        ) from error
    start = 0
    for block in made.blocks:
        array[start : start + len(block)] = block
        start += len(block)
    array.flags.writeable = False
    return array


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"
