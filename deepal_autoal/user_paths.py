"""Paths as users write them, in every setting that takes one: `user_path`. Imports nothing heavy."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from deepal_autoal.errors import InputError

# In bytes, on every common file system.
LONGEST_NAME = 255
_SHOWN = 60
_SHOWN_NAME = 20


def user_path(written: str | os.PathLike[str], setting: str) -> Path:
    """Return a path with a home folder for a leading ``~`` or ``~user``, as a shell would give it.

    A shell leaves ``~`` alone in quotes and in ``--out=~/runs``, and files of settings and Python know nothing of it.

    Args:
        written: The path.
        setting: What it is, such as ``--out``, for the error messages.

    Raises:
        InputError: If it is no path, is empty, holds a null character, names the home folder of an unknown user, or
            is too long for a file system.
    """
    try:
        text = os.fspath(written)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise InputError(f"{setting} must be a path, not {written!r}")
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    if not text.strip():
        raise InputError(f"{setting} is empty: give a path")
    if "\0" in text:
        raise InputError(f"{setting} {shown!r}: a path cannot hold a null character")
    try:
        expanded = _as_file_name(os.path.expanduser(text))
    except UnicodeEncodeError:
        raise InputError(f"{setting} {shown!r}: no file system holds a name with such characters") from None
    if expanded.startswith("~") and not os.path.lexists(expanded):
        home = expanded.replace(os.sep, "/").partition("/")[0]
        raise InputError(
            f"{setting} {shown}: {home} is no user's home folder here; for a name that begins so write ./{shown}"
        )
    for name in expanded.split(os.sep):
        if len(os.fsencode(name)) > LONGEST_NAME:
            raise InputError(
                f"{setting} {shown}: {name[:_SHOWN_NAME]}... has {len(os.fsencode(name))} bytes, "
                f"and a name in a path can have {LONGEST_NAME} bytes at most"
            )
    try:
        os.lstat(expanded)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(f"{setting} {shown}: the path is too long, with {len(expanded)} characters") from None
    return Path(expanded)


def why_not_created(folder: Path, error: BaseException) -> str:
    """Return why a folder could not be created or written: what is in its way, or else the error's reason."""
    for place in (folder, *folder.parents):
        if os.path.lexists(place) and not os.path.isdir(place):
            return f"{place} is not a folder"
    return getattr(error, "strerror", None) or str(error)


def _as_file_name(text: str) -> str:
    """Return a text in the characters that the file system's encoding has: under LC_ALL=C, that may be ASCII."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return os.fsdecode(text.encode("utf-8", "surrogateescape"))
    return text
