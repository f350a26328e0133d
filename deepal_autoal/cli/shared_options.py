"""Options that several commands have, and what becomes of their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from deepal_autoal.cli.config_file import read_config
from deepal_autoal.cli.help_groups import GroupedOption
from deepal_autoal.errors import InputError
from deepal_autoal.run_settings import Definition, RunSettings, definitions
from deepal_autoal.training.recipe import Recipe
from deepal_autoal.user_paths import user_path

_Command = TypeVar("_Command", bound=Callable[..., Any])


class UserPath(click.ParamType):  # type: ignore[type-arg]
    """A path in which ``~`` is a home folder (see `user_path`)."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path; one that no file system can hold is an `InputError`."""
        setting = param.opts[0] if isinstance(param, click.Option) else "PATH"
        return user_path(value, setting)


def _option(name: str, found: Definition) -> Callable[[_Command], _Command]:
    written = f"--{name.replace('_', '-')}"
    if found.type is bool:
        return click.option(written, cls=GroupedOption, group=found.group, is_flag=True, default=None, help=found.help)
    return click.option(
        written, cls=GroupedOption, group=found.group, type=found.type, metavar=found.metavar, help=found.help
    )


_SWITCHES = (
    click.option(
        "--config",
        cls=GroupedOption,
        group="output",
        type=UserPath(),
        metavar="FILE.toml",
        is_eager=True,
        expose_value=False,
        callback=read_config,
        help="Settings by the long options' names; the command line wins.",
    ),
    click.option(
        "--quiet", cls=GroupedOption, group="output", is_flag=True, help="Print the folder only, and warnings."
    ),
    click.option("--verbose", cls=GroupedOption, group="output", is_flag=True, help="Print log messages."),
)


def setting_options(*, shared_only: bool) -> Callable[[_Command], _Command]:
    """Return a decorator that adds an option for each setting of a run.

    Args:
        shared_only: Whether to leave out what runs of a benchmark do not share.
    """
    known = [*definitions(RunSettings).items(), *definitions(Recipe).items()]
    options = [_option(name, found) for name, found in known
               if found.help and (found.is_shared or not shared_only)]  # fmt: skip
    return lambda command: _with(options, command)


def switch_options(command: _Command) -> _Command:
    """Add --config, --quiet and --verbose."""
    return _with(_SWITCHES, command)


def _with(options: Sequence[Callable[[_Command], _Command]], command: _Command) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command


def split_option(option: str) -> tuple[str, str]:
    """Return key and value of ``key=value``.

    Raises:
        InputError: If it is of another form.
    """
    key, equals, value = option.partition("=")
    if not equals or not key.strip():
        raise InputError(f"-o {option}: write it as KEY=VALUE")
    return key.strip(), value.strip()
