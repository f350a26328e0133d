"""``deepal``: the group of commands, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from deepal_autoal.cli.benchmark import benchmark_command
from deepal_autoal.cli.check import check_command
from deepal_autoal.cli.doctor import doctor_command
from deepal_autoal.cli.embed import embed_command
from deepal_autoal.cli.help_groups import SuggestingGroup
from deepal_autoal.cli.label import label_group
from deepal_autoal.cli.listings import list_datasets, list_models, list_plugins, list_protocols, list_strategies
from deepal_autoal.cli.new_plugin import new_plugin_command
from deepal_autoal.cli.query import query_command
from deepal_autoal.cli.report import report_command
from deepal_autoal.cli.run import run_command
from deepal_autoal.cli.streams import OutputError, standard_streams
from deepal_autoal.errors import (
    DeepALError,
    PluginCodeError,
    QueryError,
    error_message,
    without_controls,
)

WRONG_USE = 2
INTERRUPTED = 130
# Longer than any path; a message repeats what was written, which may be a whole file.
LONGEST_WORD = 5000


def _print_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"deepal {version('deepal_autoal')}")
        context.exit()


@click.group(
    cls=SuggestingGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Start with: deepal run --strategy autoal --candidates entropy,margin,kmeans",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
@click.pass_context
def cli(context: click.Context) -> None:
    """Deep active learning with query strategies as plugins."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


cli.add_command(run_command)
cli.add_command(benchmark_command)
cli.add_command(report_command)
cli.add_command(check_command)
cli.add_command(embed_command)
cli.add_command(query_command)
cli.add_command(label_group)
cli.add_command(list_strategies)
cli.add_command(list_datasets)
cli.add_command(list_models)
cli.add_command(list_protocols)
cli.add_command(list_plugins)
cli.add_command(new_plugin_command)
cli.add_command(doctor_command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status: 0, 2 or 130 (see the README)."""
    # By default OpenMP threads wait for each other in busy loops: two runs that share cores, or one beside any other
    # load, then take ten times as long or worse. A short spin before they sleep costs little when cores are free.
    # Both variables are read when torch is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with standard_streams():
            status = _run(given)
    except OutputError as error:
        status = _complain(error_message(error))
    sys.exit(status)


def _run(given: list[str]) -> int:
    try:
        os.getcwd()
    except OSError:
        return _complain("the current folder was deleted: change to one that exists")
    try:
        status = cli.main(given, prog_name="deepal", standalone_mode=False, obj=given)
    except (click.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except click.ClickException as error:
        status = _complain(error.format_message())
    except DeepALError as error:
        if isinstance(error, QueryError | PluginCodeError) and error.__cause__ is not None:
            # An error in plugin code: its author needs to see where.
            traceback.print_exception(_without_own_frames(error.__cause__))
        status = _complain(error_message(error))
    return status if isinstance(status, int) else 0


def _without_own_frames(error: BaseException) -> BaseException:
    """Return an error without the frames of this package that called the code that raised it."""
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None and frame.tb_frame.f_code.co_filename.startswith(own):
        frame = frame.tb_next
    return error.with_traceback(frame)


def _complain(message: str) -> int:
    line = " ".join(word if len(word) <= LONGEST_WORD else f"{word[:100]}...{word[-20:]}" for word in message.split())
    click.echo(f"Error: {without_controls(line)}", err=True)
    return WRONG_USE
