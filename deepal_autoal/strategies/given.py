"""Strategies given as objects: an instance, a class, or a function of the context that returns scores."""

from __future__ import annotations

import functools
import inspect
import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from deepal_autoal.errors import InputError, PluginError
from deepal_autoal.plugins.contract import check_requires, check_target
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.registry import IN_PROCESS, Entry
from deepal_autoal.querying.strategy import ScoringStrategy, Strategy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from deepal_autoal.querying.context import QueryContext

# What users may give as a strategy.
StrategyLike: TypeAlias = "str | Strategy | type[Strategy] | Callable[[QueryContext], ArrayLike]"

WHAT_TO_GIVE = (
    "give a registered name such as 'margin', a subclass of Strategy or an instance of one, or a function of the "
    "context that returns one score per candidate (higher = more informative)"
)


class FunctionStrategy(ScoringStrategy):
    """Queries the candidates with the highest scores, which a function of the context returns.

    Args:
        function: Called as ``function(context)``; returns one score per candidate. An attribute ``requires`` of it
            is the strategy's; by default it may use probabilities and embeddings.

    Attributes:
        may_need_less: Whether ``requires`` is the default.

    Raises:
        PluginError: If the function's ``requires`` names something unknown.
    """

    def __init__(self, function: Callable[[QueryContext], ArrayLike]) -> None:
        self._function = function
        self.name = own_name(function)
        self.may_need_less = not hasattr(function, "requires")
        self.requires = check_requires(  # type: ignore[assignment]
            self.name, getattr(function, "requires", ("probabilities", "embeddings"))
        )

    def score(self, context: QueryContext) -> Any:
        """Return what the function returns."""
        return self._function(context)


def check_given(given: object, what: str = "strategy") -> None:
    """Check an object that is given as a strategy, but not by name.

    Args:
        given: The object.
        what: What it is given as, for messages.

    Raises:
        InputError: If it is neither a strategy nor a complete strategy class nor a function of the context; the
            message says what to write.
    """
    if isinstance(given, Strategy):
        return
    if inspect.isclass(given):
        if not issubclass(given, Strategy):
            raise InputError(f"{what}: the class {given.__name__} is not a subclass of Strategy; {WHAT_TO_GIVE}")
        try:
            check_target("strategy", given.__name__, given)
        except PluginError as error:
            raise InputError(str(error)) from None
    elif not callable(given):
        raise InputError(f"{what} is {_shown(given)} of type {type(given).__name__}; {WHAT_TO_GIVE}")
    elif not _takes_a_context(given):
        raise InputError(f"{what}: {_shown(given)} cannot be called as function(context); {WHAT_TO_GIVE}")


def entry_of(cls: type[Strategy]) -> Entry:
    """Return an entry for a class that is not registered."""
    return Entry("strategy", own_name(cls), cls, IN_PROCESS)


def from_function(function: Callable[[QueryContext], ArrayLike]) -> Strategy:
    """Return a strategy that queries the highest of a function's scores.

    Raises:
        InputError: If its ``requires`` names something unknown.
    """
    try:
        strategy = FunctionStrategy(function)
    except PluginError as error:
        raise InputError(str(error)) from None
    strategy.provider = IN_PROCESS
    return strategy


def is_registered_as(name: str, given: Any) -> bool:
    """Return whether a class, that of an instance, or a function was registered by a name in this process."""
    kind = given if isinstance(given, type) else type(given)
    return any(
        entry.name == name
        and entry.provider == IN_PROCESS
        and isinstance(entry.target, type)
        and (issubclass(entry.target, kind) or vars(entry.target).get("given") is given)
        for entry in plugin_host().strategies.entries()
    )


def own_name(given: object) -> str:
    """Return the name of a class or function, marked if another strategy is registered by it."""
    while isinstance(given, functools.partial):
        given = given.func
    name = str(getattr(given, "__name__", type(given).__name__)).strip("<>")  # a lambda's is <lambda>
    if name in plugin_host().strategies and not is_registered_as(name, given):
        return f"{name} ({'class' if inspect.isclass(given) else 'function'})"
    return name


def given_items(candidates: Any) -> list[Any]:
    """Return the candidates, names and objects, that were given in a sequence.

    Raises:
        InputError: If they are not in a sequence.
    """
    if isinstance(candidates, (set, frozenset)):
        raise InputError(f"candidates is {_shown(candidates)}: a set has no order; give a list")
    if isinstance(candidates, Iterable) and not isinstance(candidates, Mapping):
        return list(candidates)
    raise InputError(f"candidates is {_shown(candidates)}; give a list, such as ['entropy', 'margin']")


def _takes_a_context(function: Callable[..., object]) -> bool:
    """Return whether a function can be called with one argument that has a name.

    A function of any arguments, such as a torch module's, is something else.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C
        return False
    first = parameters[:1]
    required = [
        item
        for item in parameters
        if item.default is item.empty and item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)
    ]
    return required in ([], first) and [item.kind for item in first] in (
        [inspect.Parameter.POSITIONAL_OR_KEYWORD],
        [inspect.Parameter.POSITIONAL_ONLY],
    )


def _shown(given: object) -> str:
    return " ".join(reprlib.repr(given).split())
