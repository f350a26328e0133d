"""``deepal strategies|datasets|models|plugins``: what is available, as a table or as JSON."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from deepal_autoal.plugins import plugin_host

_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON array of objects.")


@click.command("strategies")
@_json_option
def list_strategies(as_json: bool) -> None:
    """List the query strategies."""
    _show([entry.describe() for entry in plugin_host().strategies.entries()],
          ("name", "family", "requires", "summary", "reference", "distribution"), as_json)  # fmt: skip


@click.command("datasets")
@_json_option
def list_datasets(as_json: bool) -> None:
    """List the datasets that have a name; --dataset also takes a path."""
    _show([entry.describe() for entry in plugin_host().datasets.entries()],
          ("name", "summary", "reference", "distribution"), as_json)  # fmt: skip


@click.command("models")
@_json_option
def list_models(as_json: bool) -> None:
    """List the task models."""
    _show([entry.describe() for entry in plugin_host().models.entries()],
          ("name", "inputs", "summary", "reference", "distribution"), as_json)  # fmt: skip


@click.command("plugins")
@_json_option
def list_plugins(as_json: bool) -> None:
    """List the distributions that provide plugins, with what went wrong in loading them."""
    _show(plugin_host().describe(), ("name", "version", "state", "summary"), as_json)


def _show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("None.")
        return
    click.echo("\n".join(format_table(columns, [[_cell(row[column]) for column in columns] for row in rows])))


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Return the lines of a table with aligned columns; the widest is cut where a terminal ends, if there is one."""
    if width is None:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    table = [list(head), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    available = width - 2 * (len(head) - 1)
    while sum(widths) > available and max(widths) > 20:
        widths[widths.index(max(widths))] -= 1
    lines = []
    for row in table:
        cells = [cell if len(cell) <= size else cell[: size - 1] + "…" for cell, size in zip(row, widths, strict=True)]
        lines.append("  ".join(cell.ljust(size) for cell, size in zip(cells, widths, strict=True)).rstrip())
    lines.insert(1, "  ".join("-" * size for size in widths))
    return lines
