"""`register_strategy`: a name for a strategy of a script or notebook."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from deepal_autoal.errors import InputError, PluginError
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.registry import IN_PROCESS, Registrar, commit
from deepal_autoal.querying.selector import SelectorStrategy
from deepal_autoal.querying.strategy import Strategy
from deepal_autoal.strategies.given import FunctionStrategy, check_given

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from deepal_autoal.querying.context import QueryContext


@engine_call()
def register_strategy(
    name: str,
    strategy: type[Strategy] | Strategy | Callable[[QueryContext], ArrayLike],
    *,
    summary: str = "",
    **card: Any,
) -> None:
    """Give a strategy a name in this process, as a plugin does in every one.

    The name is then as good as a built-in one: in `run`, among candidates, in ``-o name.key=value``, in benchmarks.
    Registering it again replaces it, as when a notebook's cell is executed a second time.

    Args:
        name: Letters, digits, ``-`` and ``_``, starting with a letter; no strategy of a distribution has it.
        strategy: A subclass of `Strategy`; an instance, of which every use is a copy that has no options; or a function
            of the context that returns one score per candidate.
        summary: One line for listings; by default the first of the docstring.
        card: Further details (see `Registrar.add`).

    Raises:
        InputError: If it is neither, or the name is taken or not allowed.
    """
    if isinstance(strategy, SelectorStrategy):
        raise InputError(f"strategy {name!r}: a selector gets its candidates with its name: give its class")
    check_given(strategy, f"strategy {name!r}")
    if isinstance(strategy, Strategy):
        strategy = _class_of_instance(name, strategy)
    elif not isinstance(strategy, type):
        summary = summary or (strategy.__doc__ or "").strip().partition("\n")[0]
        strategy = _class_of(name, strategy)
    registry = plugin_host().strategies
    registrar = Registrar(registry, IN_PROCESS)
    before = [entry for entry in registry.entries() if entry.name == name and entry.provider == IN_PROCESS]
    try:
        registrar.add(name, strategy, summary=summary, **card)
    except PluginError as error:
        raise InputError(str(error)) from None
    registry.remove(before)
    commit(registrar)
    if registrar.problems:
        raise InputError("; ".join(registrar.problems))


def _class_of_instance(name: str, instance: Strategy) -> type[Strategy]:
    """Return a class of copies of an instance, created without arguments."""
    kept = copy.deepcopy(instance)

    def create(self: Strategy) -> None:
        vars(self).update(copy.deepcopy(vars(kept)))

    return type(name, (type(instance),), {
        "__init__": create, "__module__": type(instance).__module__, "__doc__": type(instance).__doc__,
        "requires": instance.requires,
    })  # fmt: skip


def _class_of(name: str, function: Callable[[QueryContext], ArrayLike]) -> type[Strategy]:
    """Return the class of the strategy that queries by a function, created without arguments."""

    def create(self: FunctionStrategy) -> None:
        FunctionStrategy.__init__(self, function)

    return cast("type[Strategy]", type(name, (FunctionStrategy,), {
        "__init__": create, "__module__": getattr(function, "__module__", __name__), "__doc__": function.__doc__,
        "requires": FunctionStrategy(function).requires, "given": function,
    }))  # fmt: skip
