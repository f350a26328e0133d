"""Files that are written atomically and verified when they are read back. Nothing is pickled.

They are written to a temporary file, flushed, then moved into place. JSON files hold a checksum of their content, files
of tensors are zip archives with a checksum for each member, so damage is noticed. torch is imported only where tensors
are written or read, so records can be read without it.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import secrets
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.errors import InputError, RunFolderError, error_message
from deepal_autoal.jsonable import check_depth
from deepal_autoal.user_paths import why_not_created

if TYPE_CHECKING:
    from filelock import BaseFileLock

TEMPORARY_SUFFIX = ".deepal-tmp"
LOCK = ".lock"
CHECKSUM = "checksum"
_BLOCK_BYTES = 1 << 20
# What a spreadsheet takes for the start of a formula; a number with a sign is none.
_FORMULA = re.compile(r"\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]|[\t\r\n]")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def lock_folder(folder: Path, in_use: str, advice: str = "", seconds: float = 0.0) -> BaseFileLock:
    """Create a folder if it is missing, keep other processes out of it, and return the lock, to be released.

    Args:
        folder: The folder.
        in_use: The message if another process holds the lock.
        advice: What to do if the folder cannot be written.
        seconds: How long to wait for another process.

    Raises:
        RunFolderError: If another process holds the lock, or the folder cannot be written.
    """
    import filelock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK)
        lock.acquire(timeout=seconds)
    except filelock.Timeout:
        raise RunFolderError(in_use) from None
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        reason = why_not_created(folder, error)
        raise RunFolderError(f"cannot write to {folder}: {'; '.join(filter(None, [reason, advice]))}") from error
    return lock


@contextmanager
def replacing(path: Path, keep_existing: bool = False) -> Iterator[IO[bytes]]:
    """Write a file that appears whole or not at all; a crash or a full disk leaves an old one unchanged.

    It is written beside its place under a temporary name, flushed to the disk, and moved. A symbolic link stays, and
    the file that it points to is replaced. Errors pass through.

    Args:
        path: The file.
        keep_existing: Whether a file that has appeared there meanwhile stays, and this one is dropped.

    Raises:
        OSError: If it cannot be written, or something other than a regular file is there, such as a device.
    """
    path = Path(os.path.realpath(path))
    refuse_special(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        with open(aside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not (keep_existing and path.exists()):
            os.replace(aside, path)
            _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def special_kind(path: Path) -> str:
    """Return what is at a path if it is neither missing nor a regular file, such as ``a device``; else nothing."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return ""
    if stat.S_ISREG(mode):
        return ""
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "a pipe or a socket"


def refuse_special(path: Path) -> None:
    """Raise OSError for what is neither missing nor a regular file: reading a pipe may wait forever."""
    kind = special_kind(path)
    if kind:
        raise OSError(errno.EINVAL, f"it is {kind}, not a file")


def check_output(
    path: Path, is_ours: Callable[[Path], bool], inputs: Iterable[Path] = (), option: str = "--out"
) -> None:
    """Refuse a place for output where something would be lost.

    Args:
        path: The file to write. A missing or empty one is always accepted.
        is_ours: Called with an existing file; whether an earlier call of the same command wrote it.
        inputs: What the command reads.
        option: The option that named the file, for the message.

    Raises:
        InputError: If it is not a regular file, is an input, or holds anything else.
    """
    kind = special_kind(path)
    if kind:
        raise InputError(f"{option} {path} is {kind}: name a file")
    try:
        is_new = not path.stat().st_size
        is_input = not is_new and any(source.exists() and path.samefile(source) for source in inputs)
        accepted = is_new or (not is_input and is_ours(path))
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        raise InputError(f"{option} {path}: {getattr(error, 'strerror', None) or error}; name another file") from error
    if is_input:
        raise InputError(f"{option} {path} is the input itself: name another file")
    if not accepted:
        raise InputError(f"{option} {path} exists and was not written by this command: name another file, or remove it")


def is_marked(path: Path, mark: bytes) -> bool:
    """Return whether a file's first or last 4 KiB contain a mark."""
    with open(path, "rb") as file:
        if mark in file.read(4096):
            return True
        file.seek(max(0, path.stat().st_size - 4096))
        return mark in file.read()


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically (see `replacing`).

    Raises:
        RunFolderError: If it cannot be written.
    """
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise RunFolderError(
            f"cannot write {path}: {error.strerror or error}; files written earlier are kept"
        ) from error


def remove_file(path: Path) -> None:
    """Delete a file that must not remain; a missing one is fine.

    Raises:
        RunFolderError: If it cannot be deleted.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot delete {path}: {error.strerror or error}") from error


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Delete files that nothing needs any more; those that cannot be deleted stay, and do no harm."""
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def read_bytes(path: Path) -> bytes:
    """Read a regular file.

    Raises:
        RunFolderError: If it cannot be read, or is something else, such as a pipe, which might never end.
    """
    _require_regular(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror or error}") from error


def checksum_of_bytes(content: bytes) -> str:
    """Return a hex digest of a file's content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def checksum_of_file(path: Path) -> str:
    """Return the `checksum_of_bytes` of a regular file, read block by block.

    Raises:
        RunFolderError: If it cannot be read.
    """
    _require_regular(path)
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()


def checksum_of_value(value: Any) -> str:
    """Return a hex digest of JSON-able data, which does not depend on the order of keys."""
    # Through JSON once, as keys may be numbers before they are written and are strings after.
    plain = json.loads(json.dumps(value))
    return checksum_of_bytes(json.dumps(plain, sort_keys=True).encode())


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically; a dict gets a last entry, `CHECKSUM`, of the others (see `read_json`)."""
    if isinstance(value, Mapping):
        value = {**value, CHECKSUM: checksum_of_value(value)}
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file, and verify the checksum of one that `write_json` wrote; others may have none.

    Returns:
        The content, without its checksum.

    Raises:
        RunFolderError: If it cannot be read, is not JSON, or was changed since it was written.
    """
    value = parse_json(read_bytes(path), path)
    if isinstance(value, dict) and CHECKSUM in value:
        written = value.pop(CHECKSUM)
        if written != checksum_of_value(value):
            raise RunFolderError(f"{path} is damaged or was edited: its content does not match its checksum")
    return value


def parse_json(content: bytes, where: object) -> Any:
    """Return what a piece of JSON holds.

    Args:
        content: UTF-8 text.
        where: Its place, for messages.

    Raises:
        RunFolderError: If it is not JSON, or nested too deeply.
    """
    try:
        value = json.loads(content.decode())
        check_depth(value)
    except RecursionError:
        raise RunFolderError(f"cannot read {where}: it is nested too deeply") from None
    except ValueError as error:
        raise RunFolderError(f"cannot read {where}: {error}") from error
    return value


def write_tensors(path: Path, value: Mapping[str, Any]) -> str:
    """Replace a file of tensors, arrays, numbers, strings, lists and dicts atomically (see `read_tensors`).

    Returns:
        The file's `checksum_of_bytes`.
    """
    import torch

    buffer = io.BytesIO()
    with _member_checksums():
        torch.save(encode(value, path.name), buffer)
    write_bytes(path, buffer.getvalue())
    return checksum_of_bytes(buffer.getvalue())


@contextmanager
def _member_checksums() -> Iterator[None]:
    """Have torch write checksums, which a program around us may have switched off."""
    from torch import serialization

    before = serialization.get_crc32_options()
    serialization.set_crc32_options(True)
    try:
        yield
    finally:
        serialization.set_crc32_options(before)


def read_tensors(path: Path) -> dict[str, Any]:
    """Read a file written by `write_tensors`, with tensors on the CPU. Only plain data is unpickled.

    Raises:
        RunFolderError: If the file cannot be read, is damaged, or holds anything else.
    """
    import torch

    _require_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not verify the checksums
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
        value = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror}") from error
    except zipfile.BadZipFile as error:
        raise RunFolderError(f"cannot read {path}: it is damaged ({error_message(error)})") from error
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise RunFolderError(f"cannot read {path}: {reason}") from error
    if not isinstance(value, dict):
        raise RunFolderError(f"cannot read {path}: it holds {type(value).__name__}, not a dict")
    decoded: dict[str, Any] = _decode(value)
    return decoded


def csv_for_people(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Return a table as CSV that a spreadsheet shows as it is.

    Texts that it would take for formulas get an apostrophe in front, which says that they are text.

    Args:
        columns: Their names.
        rows: A value for each column.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([spreadsheet_text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def spreadsheet_text(cell: str) -> str:
    """Return a text that no spreadsheet evaluates: one that starts like a formula is prefixed by an apostrophe."""
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def without_prefix(cell: str) -> str:
    """Return the text that `spreadsheet_text` wrote; any other one, such as ``'t Zand``, as it is."""
    return cell[1:] if cell.startswith("'") and spreadsheet_text(cell[1:]) == cell else cell


def _require_regular(path: Path) -> None:
    try:
        refuse_special(path)
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror}") from None


def encode(value: Any, where: str) -> Any:
    """Return the value in types that ``torch.load(weights_only=True)`` accepts; arrays become marked tensors.

    Raises:
        RunFolderError: If it holds anything else.
    """
    import torch

    if isinstance(value, bool | int | float | str | None) and not isinstance(value, np.generic):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()  # a view would be saved with its whole storage
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return {"__array__": torch.from_numpy(np.array(value, order="C"))}
    if isinstance(value, Mapping):
        return {_key(key, where): encode(item, where) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item, where) for item in value]
    kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
    raise RunFolderError(f"{where} cannot hold {kind}: use numbers, strings, lists, dicts, arrays, tensors")


def _key(key: Any, where: str) -> str | int:
    if isinstance(key, str | int):
        return key
    raise RunFolderError(f"{where} cannot hold a dict with a key of type {type(key).__name__}: use strings")


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"__array__"}:
            return value["__array__"].numpy()
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return value


def _sync_folder(folder: Path) -> None:
    """Make a rename durable where the system can flush folders."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
