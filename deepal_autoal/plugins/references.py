"""Objects named by where they are defined: ``path/to/file.py:Name`` or ``module:Name``. Imports nothing heavy.

A file is executed once, as a module of its own, and again when it has changed; its folder can be imported from
meanwhile, as when Python runs it. Modules are also looked for in the current folder.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from deepal_autoal.errors import DeepALError, InputError, error_message, format_error, is_interrupt
from deepal_autoal.user_paths import user_path

_FILE = ".py"
_REFERENCE = re.compile(r"(?P<source>.+):(?P<name>[^\W\d]\w*)")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_modules: dict[tuple[str, int, int], ModuleType] = {}


def is_reference(written: object) -> bool:
    """Return whether a text names an object by where it is defined."""
    found = _REFERENCE.fullmatch(written.strip()) if isinstance(written, str) else None
    return found is not None and bool(found["source"].endswith(_FILE) or _MODULE.fullmatch(found["source"]))


def name_in(reference: str) -> str:
    """Return the object's name in a reference; a text that is no reference is returned as it is."""
    return reference.strip().rpartition(":")[2] if is_reference(reference) else reference


def absolute_reference(reference: str) -> str:
    """Return a reference with the file's absolute path, which other processes find; other texts as they are.

    It may be followed by options in brackets.
    """
    head, bracket, options = reference.partition("[")
    source, _, name = head.strip().rpartition(":")
    if not (is_reference(head) and source.endswith(_FILE)):
        return reference
    return f"{os.path.abspath(user_path(source, 'the file'))}:{name}{bracket}{options}"


def load_reference(reference: str, what: str) -> Any:
    """Return the object that a reference names.

    Args:
        reference: ``path/to/file.py:Name`` or ``module:Name``.
        what: What it is given as, such as ``strategy``, for messages.

    Raises:
        InputError: If there is no such file, module or name, or it cannot be executed; the cause is chained.
    """
    source, _, name = reference.strip().rpartition(":")
    try:
        # Output of an import must not end up in the JSON of a listing.
        with redirect_stdout(sys.stderr):
            module = _file(source, what) if source.endswith(_FILE) else _module(source)
    except DeepALError as error:
        raise InputError(f"{what} {reference}: {error_message(error)}") from error
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise InputError(f"{what} {reference}: {source} cannot be imported: {format_error(error)}") from error
    try:
        return getattr(module, name)
    except AttributeError:
        own = [key for key, value in vars(module).items()
               if not key.startswith("_") and getattr(value, "__module__", None) == module.__name__]  # fmt: skip
        known = f"; it defines {', '.join(sorted(own)[:10])}" if own else ""
        raise InputError(f"{what} {reference}: {source} has no {name}{known}") from None


def _file(source: str, what: str) -> ModuleType:
    path = Path(os.path.realpath(user_path(source, f"the file of {what}")))
    if not path.is_file():
        raise InputError(f"there is no file {source}")
    status = path.stat()
    key = (str(path), status.st_mtime_ns, status.st_size)
    if key not in _modules:
        digest = hashlib.blake2b(os.fsencode(path), digest_size=8).hexdigest()
        spec = importlib.util.spec_from_file_location(f"deepal_file_{digest}_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look themselves up
        with _importing_from(str(path.parent)):
            # Not by the loader, which would use the bytecode of a file that was changed within a second.
            exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
        _modules[key] = module
    return _modules[key]


def _module(source: str) -> ModuleType:
    with _importing_from(os.getcwd()):
        return importlib.import_module(source)


@contextmanager
def _importing_from(folder: str) -> Iterator[None]:
    """Look for modules in this folder too, after all others."""
    sys.path.append(folder)
    try:
        yield
    finally:
        if folder in sys.path:  # the last one is ours
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]
