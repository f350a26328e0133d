"""Options of ``deepal run`` that are registered by plugins."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import click

from deepal_autoal.cli.help_groups import GroupedCommand, GroupedOption
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.registry import Entry


class CommandWithPluginOptions(GroupedCommand):
    """A command with its own options and those of plugins."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return all options; those of plugins come last, before ``--help``."""
        *own, last = super().get_params(ctx)
        return [*own, *(_option(entry) for entry in plugin_host().options.entries()), last]


def pop_plugin_options(settings: MutableMapping[str, Any]) -> dict[str, Any]:
    """Remove the values of plugins' options from a command's arguments, and return them by the options' names."""
    names = plugin_host().options.names()
    values = {name: settings.pop(name.replace("-", "_")) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _option(entry: Entry) -> click.Option:
    origin = "" if entry.provider.builtin else f" (Plugin {entry.provider}.)"
    if entry.details.get("flag"):
        return GroupedOption(
            [f"--{entry.name}"], group="plugins", is_flag=True, default=None, help=entry.summary + origin
        )
    metavar = entry.details.get("metavar") or "VALUE"
    return GroupedOption([f"--{entry.name}"], group="plugins", metavar=metavar, help=entry.summary + origin)
