"""``deepal``: the group of commands, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from deepal_autoal.cli.listings import list_datasets, list_models, list_plugins, list_strategies
from deepal_autoal.cli.run import run_command
from deepal_autoal.errors import DeepALError, QueryError

WRONG_USE = 2
INTERRUPTED = 130


def _print_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        import deepal_autoal

        click.echo(f"deepal {deepal_autoal.__version__}")
        context.exit()


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Start with: deepal run --strategy autoal --candidates entropy,margin,kmeans",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show it.")
def cli() -> None:
    """Deep active learning with query strategies as plugins."""


cli.add_command(run_command)
cli.add_command(list_strategies)
cli.add_command(list_datasets)
cli.add_command(list_models)
cli.add_command(list_plugins)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status: 0, 2 or 130 (see the README)."""
    # OpenMP's threads otherwise wait for each other in busy loops: two runs that share cores, or one beside any other
    # load, then take ten times as long or worse. It is read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        status = cli.main(arguments, prog_name="deepal", standalone_mode=False)
    except click.Abort:
        status = INTERRUPTED
    except click.ClickException as error:
        status = _complain(error.format_message())
    except DeepALError as error:
        if isinstance(error, QueryError) and error.__cause__ is not None:
            # A fault in somebody's code: its author needs to see where.
            traceback.print_exception(error.__cause__)
        status = _complain(str(error))
    except BrokenPipeError:  # The reader, such as `head`, has seen enough.
        sys.stdout = None
        status = 0
    sys.exit(status if isinstance(status, int) else 0)


def _complain(message: str) -> int:
    click.echo(f"Error: {' '.join(message.split())}", err=True)
    return WRONG_USE
