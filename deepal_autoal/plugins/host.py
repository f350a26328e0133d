"""The plugins of this process: found, loaded one by one, and isolated where they fail.

pluggy's own ``load_setuptools_entrypoints`` silently skips a second distribution with the same entry-point name, lets
one broken import break all plugins, and keeps the valid hooks of an invalid plugin. Here every entry point is loaded
on its own, in a fixed order. A plugin that fails is removed as a whole, and the reason is kept for ``deepal plugins``
and for the error that is raised when a name it should have provided is requested.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import EntryPoint
from typing import Any

import pluggy

from deepal_autoal.errors import PluginError, format_error, is_interrupt
from deepal_autoal.isolation.blame import Provider
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.plugins import hookspecs
from deepal_autoal.plugins.discovery import discover
from deepal_autoal.plugins.load_report import describe_distributions, describe_slow, explain_missing
from deepal_autoal.plugins.loading import check_hooks, check_plugin, load_plugin, note_refused
from deepal_autoal.plugins.plugin_record import PluginRecord
from deepal_autoal.plugins.registry import IN_PROCESS, OWN_OPTIONS, Entry, Registrar, Registry, commit

# In the order of `PluginHost.registries`.
REGISTRATION_HOOKS = (
    "deepal_register_strategies",
    "deepal_register_datasets",
    "deepal_register_models",
    "deepal_register_backends",
    "deepal_register_options",
)
EVENT_HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("deepal_") and name not in REGISTRATION_HOOKS)

logger = logging.getLogger(__name__)


class PluginHost:
    """The plugins of this process: registries filled through hooks, and the event hooks.

    Attributes:
        strategies, datasets, models, backends, options: The registries.
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
        self.backends = Registry("backend", self._explain)
        self.options = Registry("option", self._explain, reserved=OWN_OPTIONS)
        self._providers: dict[str, Provider] = {}
        self._added: dict[str, list[Entry]] = {}

    def load_entry_points(self, entry_points: Iterable[EntryPoint] | None = None) -> None:
        """Load every entry point of the group: built-ins first, then third-party ones by name and distribution."""
        found = discover(entry_points)
        self.unknown_disabled = found.unknown_disabled
        self.records += found.not_loaded
        for provider, point in found.to_load:
            record = PluginRecord(point.name, point.value, provider)
            self.records.append(record)
            load_plugin(point, record, self._register)
        note_refused(self.records, self.registries)
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
            self.records = [record for record in self.records if record.key != key]

    @property
    def registries(self) -> tuple[Registry, ...]:
        """Strategies, datasets, models, backends and options."""
        return (self.strategies, self.datasets, self.models, self.backends, self.options)

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
        return describe_distributions(self.records)

    def slow(self) -> list[str]:
        """Return a line for each third-party plugin that took long to load."""
        return describe_slow(self.records)

    def distributions(self, providers: Iterable[Provider]) -> dict[str, str]:
        """Return the versions, by name, of the providers and of all plugins that implement an event hook."""
        used = set(providers)
        for hook in EVENT_HOOKS:
            for implementation in getattr(self.manager.hook, hook).get_hookimpls():
                used.add(self._providers.get(implementation.plugin_name, IN_PROCESS))
        return {provider.distribution: provider.version for provider in sorted(used, key=str)}

    def _register(self, plugin: Any, record: PluginRecord) -> None:
        key = record.key
        registrars = []
        try:
            check_plugin(plugin)
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
            check_hooks(plugin, record.value, callers)
            for registry, hook in zip(self.registries, REGISTRATION_HOOKS, strict=True):
                registrar = Registrar(registry, record.provider)
                registrars.append(registrar)
                self._caller_of(plugin, hook)(registry=registrar)
        except BaseException as error:
            if self.manager.get_plugin(key) is plugin:
                self.manager.unregister(name=key)
            if is_interrupt(error):
                raise
            record.fail(error)
            return
        for registrar in registrars:
            commit(registrar)
        self._added[key] = [entry for registrar in registrars for entry in registrar.added]
        for registrar in registrars:
            record.provides += [f"{entry.kind} {entry.name}" for entry in registrar.added]
            record.problems += registrar.problems
        record.provides += [f"hook {caller.name}" for caller in callers if caller.name not in REGISTRATION_HOOKS]

    def _caller_of(self, plugin: Any, hook: str) -> pluggy.HookCaller:
        """Return a caller of a hook that calls this plugin only."""
        others = [other for other in self.manager.get_plugins() if other is not plugin]
        return self.manager.subset_hook_caller(hook, remove_plugins=others)

    def _explain(self, name: str) -> PluginError | str | None:
        return explain_missing(name, self.records)


def plugin_host() -> PluginHost:
    """Return the process's plugin host, with all installed plugins loaded."""
    if not _loaded_host.cache_info().currsize:
        with engine_call():  # not one host for each of the threads that come first
            return _loaded_host()
    return _loaded_host()


@functools.cache
def _loaded_host() -> PluginHost:
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
