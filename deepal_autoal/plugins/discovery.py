"""Find the entry points of the group ``deepal``, and decide which of them are loaded, in a fixed order."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import Distribution, EntryPoint, distributions

from deepal_autoal.isolation.blame import Provider, normalize
from deepal_autoal.plugins.plugin_record import PluginRecord
from deepal_autoal.run_settings import split_names

ENTRY_POINT_GROUP = "deepal"
DISABLE_VARIABLE = "DEEPAL_DISABLE_PLUGINS"
ALL_EXTERNAL = "all-external"


@dataclass
class Discovery:
    """The entry points that were found.

    Attributes:
        to_load: Those to load, with their distributions: built-ins first, then by name and distribution.
        not_loaded: Records of the others: unreadable, disabled, or with a name that is taken.
        unknown_disabled: Names in ``DEEPAL_DISABLE_PLUGINS`` that match no third-party plugin.
    """

    to_load: list[tuple[Provider, EntryPoint]] = field(default_factory=list)
    not_loaded: list[PluginRecord] = field(default_factory=list)
    unknown_disabled: list[str] = field(default_factory=list)


def discover(entry_points: Iterable[EntryPoint] | None = None) -> Discovery:
    """Return what is to be loaded of some entry points; by default, of those of all distributions."""
    found = Discovery()
    if entry_points is None:
        entry_points = _find(found.not_loaded)
    ordered = sorted(((_provider(point), point) for point in entry_points), key=_load_order)
    enabled = _enabled(ordered, found)
    owners: dict[str, list[Provider]] = defaultdict(list)
    for provider, point in enabled:
        if provider not in owners[point.name]:
            owners[point.name].append(provider)
    for provider, point in enabled:
        rivals = [other for other in owners[point.name] if other != provider]
        if provider.builtin or not rivals:
            found.to_load.append((provider, point))
            continue
        problem = f"the entry point {point.name!r} is also provided by {', '.join(map(str, rivals))}; "
        problem += "a built-in keeps its name" if rivals[0].builtin else "both are refused: uninstall one of them"
        found.not_loaded.append(PluginRecord(point.name, point.value, provider, "refused", [problem]))
    return found


def _find(unreadable: list[PluginRecord]) -> list[EntryPoint]:
    """Return the group's entry points of all distributions; add a record of each whose file cannot be read."""
    found: dict[str, list[EntryPoint]] = {}
    for distribution in distributions():
        # The first on the path is the one that Python imports. (The name comes from the folder: no file is read.)
        name = getattr(distribution, "_normalized_name", None) or _name_of(distribution)
        if name not in found:
            try:
                found[name] = [point for point in distribution.entry_points if point.group == ENTRY_POINT_GROUP]
            except Exception as error:
                found[name] = []
                provider = Provider(_name_of(distribution), "")
                record = PluginRecord("entry_points.txt", str(getattr(distribution, "_path", "")), provider)
                record.fail(error)
                unreadable.append(record)
    return [point for points in found.values() for point in points]


def _enabled(points: Iterable[tuple[Provider, EntryPoint]], found: Discovery) -> list[tuple[Provider, EntryPoint]]:
    """Return the entry points that the environment does not disable; note the others."""
    disabled = {normalize(name) for name in split_names(os.environ.get(DISABLE_VARIABLE, ""))}
    unknown = disabled - {ALL_EXTERNAL}
    enabled = []
    for provider, point in points:
        names = {normalize(point.name), normalize(provider.distribution)}
        if provider.builtin or not disabled & {*names, ALL_EXTERNAL}:
            enabled.append((provider, point))
            continue
        unknown -= names
        problem = f"switched off by {DISABLE_VARIABLE}"
        found.not_loaded.append(PluginRecord(point.name, point.value, provider, "disabled", [problem]))
    found.unknown_disabled = sorted(unknown)
    return enabled


def _name_of(distribution: Distribution) -> str:
    # The metadata of a half-removed distribution may be gone; then name and version are missing or raise.
    try:
        return str(distribution.name or "unknown distribution")
    except Exception:
        return "unknown distribution"


def _provider(point: EntryPoint) -> Provider:
    if point.dist is None:
        return Provider("unknown distribution", "")
    try:
        version = str(point.dist.version or "")
    except Exception:
        version = ""
    return Provider(_name_of(point.dist), version)


def _load_order(found: tuple[Provider, EntryPoint]) -> tuple[bool, str, str]:
    provider, point = found
    return (not provider.builtin, point.name, str(provider))
