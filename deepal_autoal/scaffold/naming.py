"""Names of a new plugin: its strategy, distribution, package and class, checked against those that exist."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Collection
from dataclasses import dataclass

from deepal_autoal.errors import InputError
from deepal_autoal.plugins import plugin_host
from deepal_autoal.registry import normalize, stands_for_a_set

# A registered name that may also end a distribution's name.
_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?")
# So that no generated line becomes longer than formatters let it be.
LONGEST_NAME = 40


@dataclass(frozen=True)
class PluginName:
    """A strategy's name, and what bears it.

    Attributes:
        strategy: As the registry and the entry point know it.
    """

    strategy: str

    @property
    def distribution(self) -> str:
        """What pip installs."""
        return f"deepal-{self.strategy}"

    @property
    def package(self) -> str:
        """What Python imports."""
        return f"deepal_{self.strategy}".replace("-", "_").lower()

    def class_name(self, taken: Collection[str]) -> str:
        """Return the name in CamelCase, with ``My`` before it where the module needs that name otherwise.

        Args:
            taken: Names that the module uses.
        """
        camel = "".join(part[:1].upper() + part[1:] for part in re.split("[-_]+", self.strategy))
        return f"My{camel}" if camel in taken else camel


def new_name(name: str) -> PluginName:
    """Return a name that nothing installed bears.

    Raises:
        InputError: If it is not of the form, or is taken; says by whom.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is no name for a plugin: use letters, digits, - and _, starting with a letter and ending with "
            "a letter or a digit"
        )
    if len(name) > LONGEST_NAME:
        raise InputError(f"the name {name!r} has {len(name)} characters: use {LONGEST_NAME} at most")
    if stands_for_a_set(name):
        raise InputError(f"the name {name!r} is taken: all, and what starts with all-, stands for sets; choose another")
    made = PluginName(name)
    owner = _owner(made)
    if owner is not None:
        raise InputError(f"the name {name!r} is taken: {owner}; choose another")
    return made


def _owner(made: PluginName) -> str | None:
    """Return what bears the name, or one that differs from it only in case or in - and _, or None."""
    host = plugin_host()
    wanted = normalize(made.strategy)
    # Entry points too: of two alike both are refused, whatever they register and also where they fail to load.
    claims = [(entry.name, entry.provider, "strategy") for entry in host.strategies.entries()]
    claims += [(name, claimant, "strategy") for name, both in host.strategies.refused().items() for claimant in both]
    claims += [(record.name, record.provider, "entry point") for record in host.records]
    for name, provider, kind in claims:
        if normalize(name) == wanted:
            return f"{name!r} is {'an' if kind[0] == 'e' else 'a'} {kind} of {provider}"
    try:
        installed = importlib.metadata.version(made.distribution)
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        return f"the distribution {made.distribution} {installed} is installed"
    if importlib.util.find_spec(made.package) is not None:
        return f"a module {made.package} exists"
    return None
