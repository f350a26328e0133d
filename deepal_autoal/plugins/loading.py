"""Load plugins one by one: import, check, and note in each plugin's record what is wrong with it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pluggy

from deepal_autoal.errors import PluginError, is_interrupt
from deepal_autoal.isolation.blame import BUILTIN_DISTRIBUTION
from deepal_autoal.isolation.process_state import restored
from deepal_autoal.measuring.resources import Stopwatch
from deepal_autoal.plugins import hookspecs
from deepal_autoal.plugins.plugin_record import PluginRecord
from deepal_autoal.plugins.registry import Registry

CONTRACT_ATTRIBUTE = "deepal_contract"

_VALUE = re.compile(r"[\w.]+\s*(:\s*[\w.]+)?\s*(\[.*\])?")


def load_plugin(
    point: importlib.metadata.EntryPoint, record: PluginRecord, register: Callable[[Any, PluginRecord], None]
) -> None:
    """Import what an entry point names and register it; the record gets the time and what went wrong.

    Args:
        point: The entry point.
        record: Its record.
        register: Registers the imported object, and notes failures in the record.
    """
    different: list[str] = []
    # Output of a plugin must not end up in the JSON of a listing.
    with Stopwatch() as loading, restored(different), contextlib.redirect_stdout(sys.stderr):
        try:
            if not _VALUE.fullmatch(point.value.strip()):
                raise PluginError(f"its value {point.value!r} is not of the form 'module' or 'module:object'")
            plugin = point.load()
        except BaseException as error:
            if is_interrupt(error):
                raise
            record.fail(error)
        else:
            register(plugin, record)
    record.problems += [f"it changed {name} when it was loaded; this was undone" for name in different]
    record.seconds = loading.seconds


def check_plugin(plugin: Any) -> None:
    """Check that a plugin is written for this contract, and that pluggy can distinguish it from others by identity.

    Raises:
        PluginError: If it is not.
    """
    own, default = _comparison(type(plugin)), _comparison(object)
    if plugin is None or own != default:
        what = type(plugin).__name__
        raise PluginError(
            f"the entry point names an object of type {what}; name a module, or an object compared by identity"
        )
    wanted = getattr(plugin, CONTRACT_ATTRIBUTE, hookspecs.CONTRACT_VERSION)
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1:
        raise PluginError(f"{CONTRACT_ATTRIBUTE} must be a whole number from 1, not {wanted!r}")
    if wanted > hookspecs.CONTRACT_VERSION:
        own_version = importlib.metadata.version(BUILTIN_DISTRIBUTION)
        raise PluginError(
            f"it is written for version {wanted} of the plugin contract, but {BUILTIN_DISTRIBUTION} {own_version} "
            f"has version {hookspecs.CONTRACT_VERSION}: upgrade {BUILTIN_DISTRIBUTION}"
        )


def check_hooks(plugin: Any, value: str, callers: Sequence[pluggy.HookCaller]) -> None:
    """Check that a plugin implements hooks, and only ones that exist and can run.

    Args:
        plugin: The plugin.
        value: How its entry point names it.
        callers: The hooks that it implements.

    Raises:
        PluginError: If it implements none, one is unknown, async, or a method of a class without an instance.
    """
    if not callers:
        raise PluginError(
            f"{value} implements no hook: mark functions such as deepal_register_strategies(registry) with @hookimpl, "
            "in the module that the entry point names"
        )
    for caller in callers:
        hook = caller.name
        if not caller.has_spec():
            raise PluginError(f"{hook} is not a hook of {hookspecs.PROJECT}")
        function = getattr(plugin, hook, None)
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise PluginError(f"{hook} is async; make it a plain function")
        if inspect.isclass(plugin) and inspect.isfunction(inspect.getattr_static(plugin, hook, None)):
            raise PluginError(
                f"{hook} is a method of the class {plugin.__qualname__}; name an instance of it, or a module"
            )


def note_refused(records: Iterable[PluginRecord], registries: Iterable[Registry]) -> None:
    """Also record the conflict for the first claimant of a name, which had it until the second was loaded."""
    for registry in registries:
        for name, claimants in registry.refused().items():
            for record in records:
                if f"{registry.kind} {name}" in record.provides:
                    record.provides.remove(f"{registry.kind} {name}")
                    others = ", ".join(str(other) for other in claimants if other != record.provider)
                    record.problems.append(f"{registry.kind} {name!r} is also provided by {others}; both are refused")


def _comparison(cls: Any) -> tuple[Any, Any]:
    return cls.__eq__, cls.__hash__
