"""Help in groups: what most people need first."""

from __future__ import annotations

from typing import Any

import click

from deepal_autoal.errors import UnknownNameError

# Of which settings name theirs by the key (see `run_settings.Definition`).
GROUPS = {
    "data": "Data",
    "strategy": "Strategy",
    "budget": "Budget",
    "model": "Model",
    "output": "Output",
    "training": "Training",
    "studies": "Studies",
    "machine": "Machine",
    "diagnosis": "Diagnosis",
    "plugins": "Plugins",
}
_OTHERS = "Other"


class GroupedOption(click.Option):
    """An option that belongs to a group of the help.

    Args:
        arguments: Of `click.Option`.
        group: A key of `GROUPS`.
        settings: Of `click.Option`.
    """

    def __init__(self, *arguments: Any, group: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help lists the options by group."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of a group under its title; options without one come last."""
        rows: dict[str, list[tuple[str, str]]] = {title: [] for title in (*GROUPS.values(), _OTHERS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                group = parameter.group if isinstance(parameter, GroupedOption) else None
                rows[_OTHERS if group is None else GROUPS[group]].append(record)
        width = max((len(name) for records in rows.values() for name, _ in records), default=0)
        for title, records in rows.items():
            if records:
                with formatter.section(title):
                    # All groups have one column of names.
                    formatter.write_dl([(name.ljust(width), text) for name, text in records], col_max=width)


class SuggestingGroup(click.Group):
    """A group that suggests the nearest commands for a mistyped one."""

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command; an unknown one is an error with suggestions."""
        if arguments and self.get_command(context, arguments[0]) is None and not arguments[0].startswith("-"):
            raise UnknownNameError(
                "command", arguments[0], self.commands, f"`{context.command_path} --help` lists all."
            )
        return super().resolve_command(context, arguments)
