"""``deepal new-plugin``: create a plugin distribution to start from."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from deepal_autoal.cli.shared_options import UserPath
from deepal_autoal.scaffold.naming import new_name
from deepal_autoal.scaffold.rendering import KINDS, render
from deepal_autoal.scaffold.writing import write_folder

# \b keeps click from joining the lines.
_KINDS = "\n".join(["\b", "Kinds:", *(f"{kind:<10}{what}" for kind, what in KINDS.items())])


@click.command("new-plugin", epilog=_KINDS)
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    default="scoring",
    show_default=True,
    help="What to start from (see below).",
)
@click.option("--out", type=UserPath(), metavar="DIR", help="The folder to create; default ./NAME.")
def new_plugin_command(name: str, kind: str, out: Path | None) -> None:
    """Write a plugin distribution with a working strategy NAME and its test, ready to install and edit."""
    names = new_name(name)
    folder = Path(name) if out is None else out
    texts = render(names, kind)
    write_folder(folder, texts)
    # pip looks up a bare name on the package index.
    shown = str(folder) if os.sep in str(folder) else os.path.join(os.curdir, folder)
    click.echo(f"Created {shown}, the distribution {names.distribution} with the strategy {name}:")
    for path in texts:
        click.echo(f"  {path}")
    click.echo("Next:")
    click.echo(f"  pip install -e {shlex.quote(f'{shown}[test]')}")
    click.echo(f"  deepal check {name}")
    click.echo(f"  deepal run --strategy {name}")
