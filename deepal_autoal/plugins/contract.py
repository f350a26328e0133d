"""Check at registration that the engine can call a plugin's strategy, dataset, model, backend or option."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from deepal_autoal.errors import InputError, PluginError
from deepal_autoal.isolation.blame import BUILTIN_DISTRIBUTION
from deepal_autoal.plugins.cost_formulas import check_cost
from deepal_autoal.querying.selector import SelectorStrategy
from deepal_autoal.querying.strategy import Requirement, ScoringStrategy, Strategy

REQUIREMENTS: frozenset[str] = frozenset(get_args(Requirement))


def strategy_card(name: str, target: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a strategy's details, checked and in order, with defaults filled in."""
    requires = given.get("requires", getattr(target, "requires", frozenset()))
    # A class that overrides wrap_trainer changes training; the base class's method is defined in this package.
    overridden = getattr(getattr(target, "wrap_trainer", None), "__module__", "").partition(".")[0]
    card = {
        "family": given.get("family", ""),
        "requires": check_requires(name, requires if not isinstance(requires, property) else ()),
        "changes_training": given.get("changes_training", overridden not in ("", BUILTIN_DISTRIBUTION)),
        "time": given.get("time", ""),
        "memory": given.get("memory", ""),
        "use": given.get("use", ""),
        "measured": check_measured(name, given.get("measured", ())),
    }
    if not isinstance(card["changes_training"], bool):
        raise PluginError(f"strategy {name!r}: changes_training must be True or False")
    for key in ("time", "memory"):
        try:
            if card[key]:
                check_cost(card[key])
        except InputError as error:
            raise PluginError(f"strategy {name!r}: {key}: {error}") from None
    return card


# What a study found on a strategy.
_MEASURED: dict[str, type | tuple[type, ...]] = {
    "study": str, "data": str, "classes": int, "initial": int, "final": int, "seeds": int, "points": (int, float),
}  # fmt: skip


def check_measured(name: str, measured: Any) -> list[dict[str, Any]]:
    """Return what studies found on a strategy, as ``deepal strategies --advise`` uses it.

    Args:
        name: The strategy.
        measured: Mappings with ``study`` (its name), ``data`` (data and model), ``classes``, ``initial`` and ``final``
            (labels at the beginning and the end), ``seeds``, and ``points``: the mean AUBC minus that of ``random`` in
            the same study, in percentage points.

    Raises:
        PluginError: If one of them has another form.
    """
    found = []
    for item in measured if isinstance(measured, list | tuple) else [measured]:
        if not isinstance(item, Mapping) or set(item) != set(_MEASURED):
            raise PluginError(f"strategy {name!r}: each of measured must have {', '.join(_MEASURED)}")
        for key, kind in _MEASURED.items():
            value = item[key]
            is_right = isinstance(value, kind) and not isinstance(value, bool)
            if not is_right or (kind is int and value < 1) or (key == "points" and not abs(value) <= 100):
                raise PluginError(f"strategy {name!r}: measured: {key} is {value!r}")
        found.append({key: item[key] for key in _MEASURED})
    return found


# The arguments with which the engine calls a strategy's methods, after self.
_METHODS = {
    "query": ("context", "batch_size"),
    "score": ("context",),
    "choice_probabilities": ("context", "batch_size"),
    "describe_options": (),
    "wrap_trainer": ("trainer",),
    "state_dict": (),
    "load_state_dict": ("state",),
}

# Likewise of a backend.
_BACKEND_METHODS = {"device": ("device",), "threads": ("n_jobs",), "open": ("workload",)}

_CALLS = {"dataset": ("data_dir",), "model": ("input_shape", "n_classes"), "option": ("text",)}


def call_arguments(kind: str, is_family: bool = False) -> tuple[str, ...]:
    """Return the arguments with which the engine calls a dataset, a model or an option."""
    return (*_CALLS[kind], "architecture") if is_family else _CALLS[kind]


def check_target(kind: str, name: str, target: Any, is_family: bool = False) -> None:
    """Check that the engine can call what was registered.

    Args:
        kind: What is registered, such as ``"model"``.
        name: The registered name.
        target: The class or function.
        is_family: Whether it is also called with the name of an architecture.

    Raises:
        PluginError: If it is not of this kind, lacks a method, or does not accept the arguments.
    """
    if kind == "backend":
        _check_backend(name, target)
        return
    if kind != "strategy":
        _check_signature(f"{kind} {name!r}: the target", target, call_arguments(kind, is_family))
        return
    if not (inspect.isclass(target) and issubclass(target, Strategy)):
        raise PluginError(f"strategy {name!r}: the target must be a subclass of Strategy, not {target!r}")
    if target.query is Strategy.query:
        raise PluginError(f"strategy {name!r}: {target.__name__} does not implement query(self, context, batch_size)")
    if target.query is ScoringStrategy.query and getattr(target, "score", None) is ScoringStrategy.score:
        raise PluginError(f"strategy {name!r}: {target.__name__} does not implement score(self, context)")
    if issubclass(target, SelectorStrategy) and "candidates" not in inspect.signature(target).parameters:
        raise PluginError(
            f"strategy {name!r}: a selector's constructor must accept candidates; {target.__name__}'s does not"
        )
    names = getattr(target, "default_candidates", ())
    if not isinstance(names, tuple | list) or not all(isinstance(item, str) for item in names):
        raise PluginError(f"strategy {name!r}: default_candidates must be a tuple of names, not {names!r}")
    for method, arguments in _METHODS.items():
        if hasattr(target, method):
            _check_signature(
                f"strategy {name!r}: {target.__name__}.{method}", getattr(target, method), ("self", *arguments)
            )


def _check_backend(name: str, target: Any) -> None:
    # The base class is in a higher layer.
    if not inspect.isclass(target) or not all(hasattr(target, name) for name in ("is_remote", *_BACKEND_METHODS)):
        raise PluginError(
            f"backend {name!r}: the target must be a subclass of deepal_autoal.benchmark.Backend, not {target!r}"
        )
    if inspect.isabstract(target):
        raise PluginError(f"backend {name!r}: {target.__name__} does not implement open(self, workload)")
    _check_signature(f"backend {name!r}: {target.__name__}", target, ())
    for method, arguments in _BACKEND_METHODS.items():
        _check_signature(f"backend {name!r}: {target.__name__}.{method}", getattr(target, method), ("self", *arguments))


def _check_signature(what: str, function: Any, arguments: tuple[str, ...]) -> None:
    if not callable(function):
        raise PluginError(f"{what} must be callable, not {function!r}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        raise PluginError(
            f"{what}{signature} cannot be called with ({', '.join(arguments)}): accept these arguments"
        ) from None


def check_requires(name: str, requires: Iterable[str]) -> frozenset[str]:
    """Return a strategy's requirements as a frozenset.

    Raises:
        PluginError: If one of them is not in `REQUIREMENTS`.
    """
    if isinstance(requires, str):
        raise PluginError(f"strategy {name!r}: requires must be a set of names, not the string {requires!r}")
    needed = frozenset(requires)
    if not needed <= REQUIREMENTS:
        raise PluginError(
            f"strategy {name!r} requires {', '.join(sorted(map(str, needed - REQUIREMENTS)))}; "
            f"known requirements: {', '.join(sorted(REQUIREMENTS))}"
        )
    return needed
