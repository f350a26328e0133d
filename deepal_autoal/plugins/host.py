"""Find plugins through the entry-point group ``deepal``, load them one by one, and isolate failures.

pluggy's own ``load_setuptools_entrypoints`` silently skips a second distribution with the same entry-point name, lets
one broken import break all plugins, and keeps the valid hooks of an invalid plugin. Here every entry point is loaded
on its own, in a fixed order. A plugin that fails is removed as a whole, and the reason is kept for ``deepal plugins``
and for the error that is raised when a name it should have provided is requested.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import inspect
import logging
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pluggy

from deepal_autoal.errors import PluginError, format_error, is_interrupt
from deepal_autoal.isolation.blame import BUILTIN_DISTRIBUTION, Provider, normalize
from deepal_autoal.isolation.process_state import restored
from deepal_autoal.plugins import hookspecs
from deepal_autoal.plugins.registry import IN_PROCESS_DISTRIBUTION, OWN_OPTIONS, Entry, Registrar, Registry, commit

ENTRY_POINT_GROUP = "deepal"
DISABLE_VARIABLE = "DEEPAL_DISABLE_PLUGINS"
ALL_EXTERNAL = "all-external"
CONTRACT_ATTRIBUTE = "deepal_contract"
# Seconds: slower loading is reported, since every command waits for it.
SLOW_LOADING = 1.0
IN_PROCESS = Provider(IN_PROCESS_DISTRIBUTION, "")
# In the order of `PluginHost.registries`.
REGISTRATION_HOOKS = (
    "deepal_register_strategies",
    "deepal_register_datasets",
    "deepal_register_models",
    "deepal_register_options",
)
_VALUE = re.compile(r"[\w.]+\s*(:\s*[\w.]+)?\s*(\[.*\])?")
EVENT_HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("deepal_") and name not in REGISTRATION_HOOKS)

logger = logging.getLogger(__name__)


@dataclass
class PluginRecord:
    """The result of loading one entry point.

    Attributes:
        name: The entry point's name; by convention the strategy's.
        value: The object that the entry point refers to.
        provider: Its distribution.
        state: ``"loaded"``, ``"failed"``, ``"refused"`` (its name is taken) or ``"disabled"`` (by the environment).
        problems: One line each; empty if there are none.
        provides: Registered names, written as ``"strategy entropy"``; if several entry points of a distribution name
            the same module, the first of them has all.
        seconds: How long loading took.
        error: The exception, if it failed.
    """

    name: str
    value: str
    provider: Provider
    state: str = "loaded"
    problems: list[str] = field(default_factory=list)
    provides: list[str] = field(default_factory=list)
    seconds: float = 0.0
    error: BaseException | None = None

    @property
    def is_slow(self) -> bool:
        """Whether this is a third-party plugin that took long to load."""
        return self.seconds > SLOW_LOADING and not self.provider.builtin

    def describe(self) -> dict[str, Any]:
        """Return the record as a JSON-able dict."""
        return {
            "name": self.name,
            "value": self.value,
            "state": self.state,
            "seconds": self.seconds,
            "provides": list(self.provides),
            "problems": list(self.problems),
        }


class PluginHost:
    """The plugins of this process: registries filled through hooks, and the event hooks.

    Attributes:
        strategies, datasets, models, options: The registries.
        records: The result of loading every entry point, sorted by name.
        unknown_disabled: Names in ``DEEPAL_DISABLE_PLUGINS`` that match no third-party plugin.
    """

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.records: list[PluginRecord] = []
        self.unknown_disabled: list[str] = []
        self.strategies = Registry("strategy", self._explain)
        self.datasets = Registry("dataset", self._explain)
        self.models = Registry("model", self._explain)
        self.options = Registry("option", self._explain, reserved=OWN_OPTIONS)
        self._providers: dict[str, Provider] = {}
        self._added: dict[str, list[Entry]] = {}

    def load_entry_points(self, entry_points: Iterable[importlib.metadata.EntryPoint] | None = None) -> None:
        """Load every entry point of the group: built-ins first, then third-party ones by name and distribution."""
        if entry_points is None:
            entry_points = self._find()
        found = sorted(((_provider(point), point) for point in entry_points), key=_load_order)
        disabled = {normalize(name.strip()) for name in os.environ.get(DISABLE_VARIABLE, "").split(",") if name.strip()}
        self.unknown_disabled = sorted(disabled - {ALL_EXTERNAL})
        owners: dict[str, list[Provider]] = defaultdict(list)
        enabled = []
        for provider, point in found:
            names = {normalize(point.name), normalize(provider.distribution)}
            if not provider.builtin and disabled & {*names, ALL_EXTERNAL}:
                self.unknown_disabled = [name for name in self.unknown_disabled if name not in names]
                problem = f"switched off by {DISABLE_VARIABLE}"
                self.records.append(PluginRecord(point.name, point.value, provider, "disabled", [problem]))
                continue
            enabled.append((provider, point))
            if provider not in owners[point.name]:
                owners[point.name].append(provider)
        for provider, point in enabled:
            record = PluginRecord(point.name, point.value, provider)
            self.records.append(record)
            rivals = [other for other in owners[point.name] if other != provider]
            if rivals and not provider.builtin:
                record.state = "refused"
                record.problems.append(
                    f"the entry point {point.name!r} is also provided by {', '.join(map(str, rivals))}; "
                    + ("a built-in keeps its name" if rivals[0].builtin else "both are refused: uninstall one of them")
                )
                continue
            start = time.perf_counter()
            self._load(point, record)
            record.seconds = time.perf_counter() - start
        self._note_refused()
        self.records.sort(key=lambda record: (record.name, str(record.provider)))

    def register(self, plugin: Any, name: str) -> PluginRecord:
        """Register a plugin of this process, such as a strategy defined in a notebook or a run's event hooks.

        Raises:
            PluginError: If the plugin breaks the contract or its names are taken.
        """
        record = PluginRecord(name, repr(plugin), IN_PROCESS)
        self._register(plugin, record)
        if record.problems:
            self.unregister(plugin)
            raise PluginError(f"plugin {name!r}: {'; '.join(record.problems)}") from record.error
        self.records.append(record)
        return record

    def unregister(self, plugin: Any) -> None:
        """Remove a plugin of this process and the names that it registered."""
        if self.manager.is_registered(plugin):
            key = str(self.manager.get_name(plugin))
            self.manager.unregister(plugin)
            for registry in self.registries:
                registry.remove(self._added.get(key, ()))
            self.records = [record for record in self.records if _key(record) != key]

    @property
    def registries(self) -> tuple[Registry, ...]:
        """Strategies, datasets, models and options."""
        return (self.strategies, self.datasets, self.models, self.options)

    def notify(
        self,
        hook: str,
        *,
        around: Callable[[Provider, str], AbstractContextManager[object]] = lambda provider, hook: nullcontext(),
        **arguments: Any,
    ) -> Any:
        """Call an event hook plugin by plugin; a failure is logged with the plugin's distribution.

        Args:
            hook: The hook's name.
            around: Creates a context for each plugin's call; errors that it raises on exit are not caught.
            arguments: The hook's arguments.

        Returns:
            For ``deepal_should_stop`` the first reason, else None.
        """
        caller = getattr(self.manager.hook, hook)
        first_result = bool(caller.spec and caller.spec.opts.get("firstresult"))
        # A plugin with several implementations of a hook is called once, with all of them.
        plugins = {item.plugin_name: item.plugin for item in reversed(caller.get_hookimpls())}
        for name, plugin in plugins.items():
            provider = self._providers.get(name, IN_PROCESS)
            result = None
            with around(provider, hook):
                try:
                    result = self._caller_of(plugin, hook)(**arguments)
                except BaseException as error:
                    if is_interrupt(error):
                        raise
                    logger.warning("plugin of %s failed in %s: %s", provider, hook, format_error(error))
                    logger.debug("", exc_info=True)
            if first_result and result is not None:
                reason = _as_reason(result, provider)
                if reason is not None:
                    return reason
        return None

    def describe(self) -> list[dict[str, Any]]:
        """Return what was found, one JSON-able dict per distribution, as ``deepal plugins`` prints it."""
        grouped: dict[Provider, list[PluginRecord]] = defaultdict(list)
        for record in self.records:
            grouped[record.provider].append(record)
        described = []
        for provider, records in sorted(grouped.items(), key=lambda item: (not item[0].builtin, str(item[0]))):
            provides = [name for record in records for name in record.provides]
            problems = [f"{record.name}: {problem}" for record in records for problem in record.problems]
            problems += [
                f"{record.name}: took {record.seconds:.1f} s to load, and every command waits for it: import heavy "
                "packages inside functions, and give targets as 'module:attribute'"
                for record in records
                if record.is_slow
            ]
            described.append(
                {
                    "name": provider.distribution,
                    "version": provider.version,
                    "summary": _summarize(provider, records, provides, problems),
                    "state": _overall(records),
                    "entry_points": [record.describe() for record in records],
                    "provides": provides,
                    "problems": problems,
                }
            )
        return described

    def slow(self) -> list[str]:
        """Return a line for each third-party plugin that took long to load."""
        return [
            f"plugin {record.name!r} of {record.provider} took {record.seconds:.1f} s to load"
            for record in self.records
            if record.is_slow
        ]

    def distributions(self, providers: Iterable[Provider]) -> dict[str, str]:
        """Return the versions, by name, of the providers and of all plugins that implement an event hook."""
        used = set(providers)
        for hook in EVENT_HOOKS:
            for implementation in getattr(self.manager.hook, hook).get_hookimpls():
                used.add(self._providers.get(implementation.plugin_name, IN_PROCESS))
        return {provider.distribution: provider.version for provider in sorted(used, key=str)}

    def _find(self) -> list[importlib.metadata.EntryPoint]:
        """Return the entry points of all distributions; one whose file cannot be read is recorded as failed."""
        found: dict[str, list[importlib.metadata.EntryPoint]] = {}
        for distribution in importlib.metadata.distributions():
            # The first on the path is the one that Python imports. (The name comes from the folder: no file is read.)
            name = getattr(distribution, "_normalized_name", None) or _name_of(distribution)
            if name not in found:
                try:
                    found[name] = [point for point in distribution.entry_points if point.group == ENTRY_POINT_GROUP]
                except Exception as error:
                    found[name] = []
                    provider = Provider(_name_of(distribution), "")
                    record = PluginRecord("entry_points.txt", str(getattr(distribution, "_path", "")), provider)
                    _fail(record, error)
                    self.records.append(record)
        return [point for points in found.values() for point in points]

    def _load(self, point: importlib.metadata.EntryPoint, record: PluginRecord) -> None:
        different: list[str] = []
        # Output of a plugin must not end up in the JSON of a listing.
        with restored(different), contextlib.redirect_stdout(sys.stderr):
            try:
                if not _VALUE.fullmatch(point.value.strip()):
                    raise PluginError(f"its value {point.value!r} is not of the form 'module' or 'module:object'")
                plugin = point.load()
            except BaseException as error:
                if is_interrupt(error):
                    raise
                _fail(record, error)
            else:
                self._register(plugin, record)
        record.problems += [f"it changed {name} when it was loaded; this was undone" for name in different]

    def _register(self, plugin: Any, record: PluginRecord) -> None:
        key = _key(record)
        registrars = []
        try:
            _check_contract(plugin)
            if self.manager.is_registered(plugin):
                # Several entry points of a distribution may name one registration module, which is called once.
                owner = self._providers[str(self.manager.get_name(plugin))]
                if owner != record.provider:
                    raise PluginError(f"{record.value} belongs to {owner}, which has already registered it")
                return
            if self.manager.get_plugin(key) is not None:
                raise PluginError(f"the entry point {record.name!r} is declared twice in the distribution")
            self._providers[key] = record.provider
            self.manager.register(plugin, key)
            callers = self.manager.get_hookcallers(plugin) or []
            if not callers:
                raise PluginError(
                    f"{record.value} implements no hook: mark functions such as deepal_register_strategies(registry) "
                    "with @hookimpl, in the module that the entry point names"
                )
            for caller in callers:
                if not caller.has_spec():
                    raise PluginError(f"{caller.name} is not a hook of {hookspecs.PROJECT}")
                _check_implementation(plugin, caller.name)
            for registry, hook in zip(self.registries, REGISTRATION_HOOKS, strict=True):
                registrar = Registrar(registry, record.provider)
                registrars.append(registrar)
                self._caller_of(plugin, hook)(registry=registrar)
        except BaseException as error:
            if self.manager.get_plugin(key) is plugin:
                self.manager.unregister(name=key)
            if is_interrupt(error):
                raise
            _fail(record, error)
            return
        for registrar in registrars:
            commit(registrar)
        self._added[key] = [entry for registrar in registrars for entry in registrar.added]
        for registrar in registrars:
            record.provides += [f"{entry.kind} {entry.name}" for entry in registrar.added]
            record.problems += registrar.problems
        record.provides += [f"hook {caller.name}" for caller in callers if caller.name not in REGISTRATION_HOOKS]

    def _note_refused(self) -> None:
        """Also record the conflict for the first claimant of a name, which had it until the second was loaded."""
        for registry in self.registries:
            for name, claimants in registry.refused().items():
                for record in self.records:
                    if f"{registry.kind} {name}" in record.provides:
                        record.provides.remove(f"{registry.kind} {name}")
                        others = ", ".join(str(other) for other in claimants if other != record.provider)
                        record.problems.append(
                            f"{registry.kind} {name!r} is also provided by {others}; both are refused"
                        )

    def _caller_of(self, plugin: Any, hook: str) -> pluggy.HookCaller:
        """Return a caller of a hook that calls this plugin only."""
        others = [other for other in self.manager.get_plugins() if other is not plugin]
        return self.manager.subset_hook_caller(hook, remove_plugins=others)

    def _explain(self, name: str) -> PluginError | str | None:
        """Return why a name is missing: an error if the plugin of that name is not loaded, a hint if others are not."""
        not_loaded = [record for record in self.records if record.state != "loaded"]
        for record in not_loaded:
            if record.name == name:
                what = {"failed": "failed to load", "refused": "was refused", "disabled": "is disabled"}[record.state]
                error = PluginError(
                    f"{name!r} is unavailable: the plugin of {record.provider} {what}: {'; '.join(record.problems)}"
                    + (f" (`deepal plugins {name}` shows where)" if record.error is not None else "")
                )
                error.__cause__ = record.error
                return error
        if not not_loaded:
            return None
        providers = ", ".join(sorted({str(record.provider) for record in not_loaded}))
        return f"Plugins of {providers} are not loaded: see `deepal plugins`."


@functools.cache
def plugin_host() -> PluginHost:
    """Return the process's plugin host, with all installed plugins loaded."""
    host = PluginHost()
    host.load_entry_points()
    return host


def _as_reason(result: Any, provider: Provider) -> str | None:
    """Return the reason to stop; None, with a warning, for a result that gives no reason, such as False."""
    if isinstance(result, str) and result.strip():
        return " ".join(result.split())
    try:
        is_true = not isinstance(result, str) and bool(result)
    except Exception:
        is_true = False
    if is_true:
        return f"plugin of {provider} requested it"
    logger.warning(
        "plugin of %s: deepal_should_stop returned %s; return a reason or None", provider, type(result).__name__
    )
    return None


def _name_of(distribution: importlib.metadata.Distribution) -> str:
    # The metadata of a half-removed distribution may be gone; then name and version are missing or raise.
    try:
        return str(distribution.name or "unknown distribution")
    except Exception:
        return "unknown distribution"


def _provider(point: importlib.metadata.EntryPoint) -> Provider:
    if point.dist is None:
        return Provider("unknown distribution", "")
    try:
        version = str(point.dist.version or "")
    except Exception:
        version = ""
    return Provider(_name_of(point.dist), version)


def _load_order(found: tuple[Provider, importlib.metadata.EntryPoint]) -> tuple[bool, str, str]:
    provider, point = found
    return (not provider.builtin, point.name, str(provider))


def _key(record: PluginRecord) -> str:
    return f"{record.provider}:{record.name}"


def _fail(record: PluginRecord, error: BaseException) -> None:
    record.state = "failed"
    record.error = error
    text = format_error(error)
    if isinstance(error, ImportError) and str(error.name or "").partition(".")[0] == BUILTIN_DISTRIBUTION:
        text += f" (is the plugin written for another version of {BUILTIN_DISTRIBUTION} than {_own_version()}?)"
    record.problems.append(text)


def _check_contract(plugin: Any) -> None:
    """Refuse a plugin written for a newer contract, or one that pluggy cannot distinguish from others by identity."""
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
        raise PluginError(
            f"it is written for version {wanted} of the plugin contract, but {BUILTIN_DISTRIBUTION} {_own_version()} "
            f"has version {hookspecs.CONTRACT_VERSION}: upgrade {BUILTIN_DISTRIBUTION}"
        )


def _check_implementation(plugin: Any, hook: str) -> None:
    """Refuse a hook that could never run: an async function, or a method of a class without an instance."""
    function = getattr(plugin, hook, None)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise PluginError(f"{hook} is async; make it a plain function")
    if inspect.isclass(plugin) and inspect.isfunction(inspect.getattr_static(plugin, hook, None)):
        raise PluginError(f"{hook} is a method of the class {plugin.__qualname__}; name an instance of it, or a module")


def _comparison(cls: Any) -> tuple[Any, Any]:
    return cls.__eq__, cls.__hash__


def _own_version() -> str:
    return importlib.metadata.version(BUILTIN_DISTRIBUTION)


def _overall(records: Iterable[PluginRecord]) -> str:
    """Return the state of a distribution, given the states of its entry points."""
    states = {record.state for record in records}
    if len(states) == 1 and states != {"loaded"}:
        return states.pop()
    return "loaded" if states == {"loaded"} and not any(record.problems for record in records) else "loaded in part"


def _summarize(provider: Provider, records: list[PluginRecord], provides: list[str], problems: list[str]) -> str:
    if problems:
        # Entry points that share a module share its problems.
        return "; ".join(dict.fromkeys(problems))
    if not provider.builtin:
        return ", ".join(provides)
    counts: dict[str, int] = defaultdict(int)
    for name in provides:
        counts[name.partition(" ")[0]] += 1
    plurals = {"strategy": "strategies"}
    return ", ".join(f"{n} {plurals.get(kind, kind + 's') if n > 1 else kind}" for kind, n in counts.items())


__all__ = ["ENTRY_POINT_GROUP", "Entry", "PluginHost", "PluginRecord", "plugin_host"]
