"""A digest of what is given as an object, by which another one under the same name is noticed."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

from deepal_autoal.querying.strategy import Strategy

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
# What lies deeper counts by its type.
_DEPTH = 100
# Their functions and classes count by name: records have the versions.
_LIBRARIES = {"deepal_autoal", "numpy", "pandas", "scipy", "sklearn", "torch", *sys.stdlib_module_names} - {"__main__"}
# Attributes of a strategy that the core sets, or records by themselves.
_OF_CORE = {"name", "options", "provider", "_code", "_code_of_arguments", "_source"}


def code_digest(given: object) -> str:
    """Return a hex digest of what an object does, the same in every process with the same Python version.

    Of a function: its bytecode, constants, defaults and what it encloses; of a class: its methods and attributes; of
    an instance: its class and all attributes. Arrays and tensors count by dtype, shape and content, modules of torch
    by their parts, weights and own attributes, estimators of scikit-learn by their parameters: they are cloned. Line
    numbers and comments do not count. Functions that are only called by name are not followed.
    """
    return _Digest().of(given)


def arguments_kept(value: Any) -> dict[str, Any]:
    """Return an instance's attributes that are named as its constructor's parameters, maybe with an underscore."""
    try:
        names = list(inspect.signature(type(value)).parameters)
    except (TypeError, ValueError):
        return {}
    kept = getattr(value, "__dict__", {})
    return {key: kept[key] for name in names for key in (name, f"_{name}") if key in kept}


class _Digest:
    """Digests of values, each object's computed once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, str]] = {}  # the object too: another one must not get its id
        self._within: list[int] = []

    def of(self, value: Any) -> str:
        """Return the digest of a value."""
        if type(value) in _PLAIN:
            return _hashed(type(value).__name__, repr(value))
        known = self._known.get(id(value))
        if known is not None:
            return known[1]
        if id(value) in self._within:
            return _hashed("encloses itself", len(self._within) - self._within.index(id(value)))
        if len(self._within) >= _DEPTH:
            return _hashed("deep", _name(type(value)))
        self._within.append(id(value))
        try:
            found = _hashed(*self._parts(value))
        except Exception:  # of the object's own code
            found = _hashed("object", _name(type(value)))
        finally:
            self._within.pop()
        self._known[id(value)] = (value, found)
        return found

    def _all(self, values: Iterable[Any]) -> list[str]:
        return [self.of(value) for value in values]

    def _by_key(self, values: dict[Any, Any]) -> list[tuple[str, str]]:
        return sorted((self.of(key), self.of(value)) for key, value in values.items())

    def _parts(self, value: Any) -> tuple[Any, ...]:
        if isinstance(value, type) and _is_of_library(value):
            return ("of a library", _name(value))
        for is_kind, parts in self._kinds():
            if is_kind(value):
                return parts(value)
        return self._parts_of_object(value)

    def _kinds(self) -> list[tuple[Callable[[Any], bool], Callable[[Any], tuple[Any, ...]]]]:
        """Return tests of values, each with what returns the parts of those that pass it."""
        of = self.of

        def is_a(*kinds: type) -> Callable[[Any], bool]:
            return lambda value: isinstance(value, kinds)

        found: list[tuple[Callable[[Any], bool], Callable[[Any], tuple[Any, ...]]]] = [
            (is_a(types.ModuleType), lambda value: ("module", value.__name__)),
            (is_a(types.CodeType), self._parts_of_code),
            (is_a(types.FunctionType), self._parts_of_function),
            (is_a(types.MethodType), lambda value: ("method", of(value.__func__), of(value.__self__))),
            (is_a(functools.partial), lambda value: ("partial", of(value.func), of(value.args), of(value.keywords))),
            (is_a(staticmethod, classmethod), lambda value: ("method", of(value.__func__))),
            (is_a(property), lambda value: ("property", of(value.fget), of(value.fset))),
            (is_a(type), self._parts_of_class),
            (lambda value: type(value) is dict, lambda value: ("dict", self._by_key(value))),
            (lambda value: type(value) in (list, tuple), lambda value: (type(value).__name__, self._all(value))),
            (is_a(set, frozenset), lambda value: ("set", sorted(self._all(value)))),
            (is_a(Strategy), self._parts_of_strategy),
        ]
        numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
        if numpy is not None:
            found.append((is_a(numpy.ndarray), self._parts_of_array))
        if torch is not None:
            found += [(is_a(torch.Tensor), self._parts_of_tensor), (is_a(torch.nn.Module), self._parts_of_module)]
        return [
            *found,
            (lambda value: callable(getattr(value, "get_params", None)),
             lambda value: ("estimator", of(type(value)), self._by_key(value.get_params(deep=True)))),
            # As `functools.lru_cache` returns it, whose cache does not count.
            (lambda value: callable(getattr(value, "__wrapped__", None)),
             lambda value: ("wrapped", of(value.__wrapped__))),
        ]  # fmt: skip

    def _parts_of_code(self, code: types.CodeType) -> tuple[Any, ...]:
        return ("code", code.co_code.hex(), code.co_names, code.co_varnames, self._all(code.co_consts))

    def _parts_of_function(self, function: types.FunctionType) -> tuple[Any, ...]:
        cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        code = _name(function) if _is_of_library(function) else function.__code__
        inner = (code, function.__defaults__, function.__kwdefaults__, cells)
        return ("function", self._all(inner))

    def _parts_of_class(self, cls: type) -> tuple[Any, ...]:
        own = {
            name: item
            for name, item in vars(cls).items()
            if not (name.startswith("__") and not isinstance(item, types.FunctionType)) and name != "__annotate__"
        }
        return ("class", cls.__qualname__, self._by_key(own), self._all(cls.__bases__))

    def _parts_of_strategy(self, strategy: Strategy) -> tuple[Any, ...]:
        own = {name: item for name, item in vars(strategy).items() if name not in _OF_CORE}
        return ("strategy", self.of(type(strategy)), self._by_key(own))

    def _parts_of_array(self, array: Any) -> tuple[Any, ...]:
        if array.dtype.hasobject:
            return ("array", array.dtype.str, array.shape, self.of(array.tolist()))
        return ("array", array.dtype.str, array.shape, hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest())

    def _parts_of_tensor(self, tensor: Any) -> tuple[Any, ...]:
        import torch

        kind = ("tensor", str(tensor.dtype), tuple(tensor.shape))
        if tensor.is_meta:
            return kind
        plain = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
        content = plain.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return (*kind, self._parts_of_array(content))

    def _parts_of_module(self, module: Any) -> tuple[Any, ...]:
        import torch

        plain = vars(torch.nn.Module())  # hooks, and whether it trains at present
        own = {name: item for name, item in vars(module).items() if name not in plain}
        parts = module._modules  # in the order in which a sequence calls them
        kept = [dict(module._parameters), dict(module._buffers), own, list(parts), list(parts.values())]
        return ("module", self.of(type(module)), self._all(kept))

    def _parts_of_object(self, value: Any) -> tuple[Any, ...]:
        """Return what copies of an object are made of."""
        found = value.__reduce_ex__(4)
        if isinstance(found, str):
            return ("object", _name(type(value)), found)
        make, arguments, state, items, pairs = (*found, None, None, None)[:5]
        return ("object", self._all([type(value), make, arguments, state, [*(items or ())], [*(pairs or ())]]))


def _hashed(*parts: Any) -> str:
    return hashlib.blake2b(repr(parts).encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def _is_of_library(value: Any) -> bool:
    return str(value.__module__).partition(".")[0] in _LIBRARIES


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
