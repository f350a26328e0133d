"""A digest of a strategy that is given as an object, by which another one under the same name is noticed."""

from __future__ import annotations

import functools
import hashlib
import inspect
import types
from typing import Any

from deepal_autoal.querying.strategy import Strategy

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
# As deep as anybody nests values; what lies deeper counts by its type.
_DEPTH = 6


def code_digest(given: object) -> str:
    """Return a hex digest of what a class, function or instance does, as far as its code and plain values show it.

    Of a function: its bytecode, constants, defaults and what it encloses; of a class: its methods and plain
    attributes; of an instance: its class, and the attributes that are named as its constructor's parameters. Line
    numbers and comments do not count. Functions that are only called by name are not followed.
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update(repr(_parts(given, _DEPTH)).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _parts(value: Any, depth: int) -> Any:
    """Return a value as nested tuples of plain values."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if depth == 0:
        return type(value).__qualname__
    inner = functools.partial(_parts, depth=depth - 1)
    if isinstance(value, types.CodeType):
        return (value.co_code.hex(), value.co_names, value.co_varnames, tuple(map(inner, value.co_consts)))
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
        return ("function", inner(value.__code__), inner(value.__defaults__), inner(value.__kwdefaults__),
                inner(cells))  # fmt: skip
    if isinstance(value, types.MethodType):
        return ("method", inner(value.__func__), inner(value.__self__))
    if isinstance(value, functools.partial):
        return ("partial", inner(value.func), inner(value.args), inner(value.keywords))
    if isinstance(value, (staticmethod, classmethod)):
        return ("method", inner(value.__func__))
    if isinstance(value, property):
        return ("property", inner(value.fget))
    if isinstance(value, type):
        return _parts_of_class(value, inner)
    if isinstance(value, dict):
        return ("dict", tuple(sorted((str(key), inner(item)) for key, item in value.items())))
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, tuple(map(inner, value)))
    if isinstance(value, (set, frozenset)):
        return ("set", tuple(sorted(str(inner(item)) for item in value)))
    if isinstance(value, Strategy) or callable(value):
        return ("instance", inner(type(value)), _arguments_kept(value, inner))
    return type(value).__qualname__


def _parts_of_class(cls: type, inner: Any) -> Any:
    if cls.__module__.partition(".")[0] in ("builtins", "abc", "deepal_autoal"):
        return cls.__qualname__
    own = {
        name: inner(item)
        for name, item in vars(cls).items()
        if not (name.startswith("__") and not isinstance(item, types.FunctionType)) and name != "__annotate__"
    }
    return ("class", cls.__qualname__, tuple(sorted(own.items())), tuple(map(inner, cls.__bases__)))


def _arguments_kept(value: Any, inner: Any) -> Any:
    try:
        names = list(inspect.signature(type(value)).parameters)
    except (TypeError, ValueError):
        names = []
    kept = vars(value) if hasattr(value, "__dict__") else {}
    return tuple((name, inner(kept[name])) for name in names if name in kept)


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
