"""Files that are either whole or not there: written aside, flushed, then moved into place. Nothing is pickled.

torch is imported where tensors are written or read, so that records can be read without it.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepal_autoal.errors import RunFolderError

TEMPORARY_SUFFIX = ".deepal-tmp"


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically; a crash or a full disk leaves the old one as it was.

    Raises:
        RunFolderError: If it cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        _sync_folder(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise RunFolderError(
            f"cannot write {path}: {error.strerror or error}; what was written before is kept"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RunFolderError: If it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunFolderError(f"cannot read {path}: {error}") from error


def write_tensors(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a file of tensors, arrays, numbers, strings, lists and dicts atomically (see `read_tensors`)."""
    import torch

    buffer = io.BytesIO()
    torch.save(encode(value, path.name), buffer)
    write_bytes(path, buffer.getvalue())


def read_tensors(path: Path) -> dict[str, Any]:
    """Read what `write_tensors` wrote, with tensors on the CPU. Nothing is unpickled but plain data.

    Raises:
        RunFolderError: If the file cannot be read, or holds anything else.
    """
    import torch

    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise RunFolderError(f"cannot read {path}: {reason}") from error
    if not isinstance(value, dict):
        raise RunFolderError(f"cannot read {path}: it holds {type(value).__name__}, not a dict")
    decoded: dict[str, Any] = _decode(value)
    return decoded


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
        return value.detach().cpu().clone()  # a view would take its whole storage along
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
    """Make a rename durable, where the system lets folders be flushed."""
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
