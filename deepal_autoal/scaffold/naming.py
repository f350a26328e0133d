"""Names of a new plugin: its strategy, distribution, package and class, checked against existing ones."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Collection
from dataclasses import dataclass

from deepal_autoal.errors import InputError
from deepal_autoal.isolation.blame import normalize
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.registry import is_candidate_set

# A name that can be registered and can also end a distribution's name.
_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?")
# Keeps generated lines within the formatter's limit.
LONGEST_NAME = 40


@dataclass(frozen=True)
class PluginName:
    """A strategy's name, and the names derived from it.

    Attributes:
        strategy: The name in the registry and of the entry point.
    """

    strategy: str

    @property
    def distribution(self) -> str:
        """The name that pip installs."""
        return f"deepal-{self.strategy}"

    @property
    def package(self) -> str:
        """The name that Python imports."""
        return f"deepal_{self.strategy}".replace("-", "_").lower()

    def class_name(self, taken: Collection[str]) -> str:
        """Return the name in CamelCase, prefixed with ``My`` if the module uses that name for something else.

        Args:
            taken: Names that the module uses.
        """
        camel = "".join(part[:1].upper() + part[1:] for part in re.split("[-_]+", self.strategy))
        return f"My{camel}" if camel in taken else camel


def new_name(name: str) -> PluginName:
    """Return a name that nothing installed uses.

    Raises:
        InputError: If it is malformed or taken; the message says by what.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is not a valid name for a plugin: use letters, digits, - and _, starting with a letter and "
            "ending with a letter or a digit"
        )
    if len(name) > LONGEST_NAME:
        raise InputError(f"the name {name!r} has {len(name)} characters: use {LONGEST_NAME} at most")
    if is_candidate_set(name):
        raise InputError(f"the name {name!r} is taken: all and all-... are reserved for sets; choose another")
    plugin = PluginName(name)
    owner = _owner(plugin)
    if owner is not None:
        raise InputError(f"the name {name!r} is taken: {owner}; choose another")
    return plugin


def _owner(plugin: PluginName) -> str | None:
    """Return what uses the name, or one that differs from it only in case or in - and _; None if nothing does."""
    host = plugin_host()
    wanted = normalize(plugin.strategy)
    # Entry points too: two of the same name are both refused, whatever they register, even if they fail to load.
    claims = [(entry.name, entry.provider, "strategy") for entry in host.strategies.entries()]
    claims += [(name, claimant, "strategy") for name, both in host.strategies.refused().items() for claimant in both]
    claims += [(record.name, record.provider, "entry point") for record in host.records]
    for name, provider, kind in claims:
        if normalize(name) == wanted:
            return f"{name!r} is {'an' if kind[0] == 'e' else 'a'} {kind} of {provider}"
    try:
        installed = importlib.metadata.version(plugin.distribution)
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        return f"the distribution {plugin.distribution} {installed} is installed"
    if importlib.util.find_spec(plugin.package) is not None:
        return f"a module {plugin.package} exists"
    return None
