"""Finds plugins through the entry-point group ``deepal``, loads them one by one, and isolates failures.

pluggy's own ``load_setuptools_entrypoints`` skips a second distribution with the same entry-point name in
silence, lets one broken import break everybody, and keeps the valid hooks of an invalid plugin. Here every
entry point is loaded on its own, in a fixed order; what fails is taken out whole, and the reason is kept for
``deepal plugins`` and for whoever asks for a name that the plugin should have provided.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pluggy

from deepal_autoal import hookspecs
from deepal_autoal.errors import PluginError
from deepal_autoal.registry import IN_PROCESS_DISTRIBUTION, Entry, Provider, Registrar, Registry

ENTRY_POINT_GROUP = "deepal"
IN_PROCESS = Provider(IN_PROCESS_DISTRIBUTION, "")

logger = logging.getLogger(__name__)


@dataclass
class PluginRecord:
    """What became of one entry point.

    Attributes:
        name: The entry point's name; by convention the strategy's.
        value: What the entry point points at.
        provider: Its distribution.
        state: ``"loaded"``, ``"failed"`` or ``"refused"`` (its name is taken).
        problems: One line each; empty when all is well.
        provides: Registered names, as ``"strategy entropy"``; where several entry points of a distribution name
            one module, the first of them has all.
    """

    name: str
    value: str
    provider: Provider
    state: str = "loaded"
    problems: list[str] = field(default_factory=list)
    provides: list[str] = field(default_factory=list)
    error: BaseException | None = None


class PluginHost:
    """The plugins of this process: three registries filled through hooks, and the event hooks.

    Attributes:
        strategies, datasets, models: The registries.
        records: What became of every entry point, sorted by name.
    """

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.records: list[PluginRecord] = []
        self.strategies = Registry("strategy", self._explain)
        self.datasets = Registry("dataset", self._explain)
        self.models = Registry("model", self._explain)
        self._providers: dict[str, Provider] = {}
        self._added: dict[str, list[Entry]] = {}

    def load_entry_points(self, entry_points: Iterable[importlib.metadata.EntryPoint] | None = None) -> None:
        """Load every entry point of the group, ours first, then third parties' by name and distribution."""
        if entry_points is None:
            entry_points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
        found = sorted(((_provider(point), point) for point in entry_points), key=_load_order)
        owners: dict[str, list[Provider]] = defaultdict(list)
        for provider, point in found:
            if provider not in owners[point.name]:
                owners[point.name].append(provider)
        for provider, point in found:
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
            try:
                plugin = point.load()
            except (Exception, SystemExit) as error:
                _fail(record, error)
                continue
            self._register(plugin, record)
        self._note_refused()
        self.records.sort(key=lambda record: (record.name, str(record.provider)))

    def register(self, plugin: Any, name: str) -> PluginRecord:
        """Register a plugin of this process, such as a notebook's strategy or a run's event hooks.

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
        """Take a plugin of this process out again, with the names that it registered."""
        if self.manager.is_registered(plugin):
            key = str(self.manager.get_name(plugin))
            self.manager.unregister(plugin)
            for registry in (self.strategies, self.datasets, self.models):
                registry.remove(self._added.get(key, ()))
            self.records = [record for record in self.records if _key(record) != key]

    def notify(self, hook: str, **arguments: Any) -> Any:
        """Call an event hook plugin by plugin; a failing one is logged, by name of its distribution.

        Returns:
            For ``deepal_should_stop`` the first result that is not None, else None.
        """
        caller = getattr(self.manager.hook, hook)
        first_result = bool(caller.spec and caller.spec.opts.get("firstresult"))
        for implementation in reversed(caller.get_hookimpls()):
            try:
                result = self._alone(hook, implementation.plugin)(**arguments)
            except (Exception, SystemExit) as error:
                provider = self._providers.get(implementation.plugin_name, IN_PROCESS)
                logger.warning(
                    "plugin of %s failed in %s: %s: %s", provider, hook, type(error).__name__, error, exc_info=True
                )
                continue
            if first_result and result is not None:
                return result
        return None

    def describe(self) -> list[dict[str, Any]]:
        """Return what was found, one JSON-able dict a distribution, as ``deepal plugins`` prints it."""
        grouped: dict[Provider, list[PluginRecord]] = defaultdict(list)
        for record in self.records:
            grouped[record.provider].append(record)
        described = []
        for provider, records in sorted(grouped.items(), key=lambda item: (not item[0].builtin, str(item[0]))):
            provides = [name for record in records for name in record.provides]
            problems = [f"{record.name}: {problem}" for record in records for problem in record.problems]
            described.append(
                {
                    "name": provider.distribution,
                    "version": provider.version,
                    "summary": "; ".join(problems) or f"provides {len(provides)} names",
                    "state": "loaded" if not problems else "failed" if not provides else "loaded in part",
                    "entry_points": [record.name for record in records],
                    "provides": provides,
                    "problems": problems,
                }
            )
        return described

    def distributions(self, providers: Iterable[Provider]) -> dict[str, str]:
        """Return name and version of the providers and of every plugin that implements an event hook."""
        used = set(providers)
        for hook in vars(hookspecs):
            if hook.startswith("deepal_") and not hook.startswith("deepal_register_"):
                for implementation in getattr(self.manager.hook, hook).get_hookimpls():
                    used.add(self._providers.get(implementation.plugin_name, IN_PROCESS))
        return {provider.distribution: provider.version for provider in sorted(used, key=str)}

    def _register(self, plugin: Any, record: PluginRecord) -> None:
        if self.manager.is_registered(plugin):
            # Several entry points of a distribution may name one registration module: it is asked once.
            return
        key = _key(record)
        registrars = []
        try:
            self.manager.register(plugin, key)
            self._providers[key] = record.provider
            for caller in self.manager.get_hookcallers(plugin) or []:
                if not caller.has_spec():
                    raise PluginError(f"{caller.name} is no hook of {hookspecs.PROJECT}")
            for registry, hook in (
                (self.strategies, "deepal_register_strategies"),
                (self.datasets, "deepal_register_datasets"),
                (self.models, "deepal_register_models"),
            ):
                registrar = Registrar(registry, record.provider)
                registrars.append((registry, registrar))
                self._alone(hook, plugin)(registry=registrar)
        except (Exception, SystemExit) as error:
            for registry, registrar in registrars:
                registry.remove(registrar.added)
            if self.manager.is_registered(plugin):
                self.manager.unregister(plugin)
            _fail(record, error)
            return
        self._added[key] = [entry for _, registrar in registrars for entry in registrar.added]
        for _, registrar in registrars:
            record.provides += [f"{entry.kind} {entry.name}" for entry in registrar.added]
            record.problems += registrar.problems

    def _note_refused(self) -> None:
        """Tell the first of two claimants of a name too, which had it until the second came."""
        for registry in (self.strategies, self.datasets, self.models):
            for name, claimants in registry.refused().items():
                for record in self.records:
                    if f"{registry.kind} {name}" in record.provides:
                        record.provides.remove(f"{registry.kind} {name}")
                        others = ", ".join(str(other) for other in claimants if other != record.provider)
                        record.problems.append(
                            f"{registry.kind} {name!r} is also provided by {others}; both are refused"
                        )

    def _alone(self, hook: str, plugin: Any) -> pluggy.HookCaller:
        others = [other for other in self.manager.get_plugins() if other is not plugin]
        return self.manager.subset_hook_caller(hook, remove_plugins=others)

    def _explain(self, name: str) -> PluginError | None:
        for record in self.records:
            if record.name == name and record.state != "loaded":
                error = PluginError(
                    f"{name!r} is unavailable: the plugin of {record.provider} "
                    f"{'was refused' if record.state == 'refused' else 'failed to load'}: " + "; ".join(record.problems)
                )
                error.__cause__ = record.error
                return error
        return None


@functools.cache
def plugin_host() -> PluginHost:
    """Return the process's plugin host, with all installed plugins loaded."""
    host = PluginHost()
    host.load_entry_points()
    return host


def _provider(point: importlib.metadata.EntryPoint) -> Provider:
    # A half-removed distribution has no metadata any more; then name and version are missing or raise.
    try:
        name, version = (point.dist.name, point.dist.version) if point.dist is not None else (None, None)
    except Exception:
        name, version = None, None
    return Provider(str(name or "unknown distribution"), str(version or ""))


def _load_order(found: tuple[Provider, importlib.metadata.EntryPoint]) -> tuple[bool, str, str]:
    provider, point = found
    return (not provider.builtin, point.name, str(provider))


def _key(record: PluginRecord) -> str:
    return f"{record.provider}:{record.name}"


def _fail(record: PluginRecord, error: BaseException) -> None:
    record.state = "failed"
    record.error = error
    record.problems.append(f"{type(error).__name__}: {error}".strip().replace("\n", " "))


__all__ = ["ENTRY_POINT_GROUP", "Entry", "PluginHost", "PluginRecord", "plugin_host"]
