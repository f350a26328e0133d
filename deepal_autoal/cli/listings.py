"""``deepal strategies|datasets|models|protocols|plugins``: list what is available, as a table or as JSON."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import traceback
from collections.abc import Mapping, Sequence
from inspect import Parameter
from pathlib import Path
from typing import Any

import click

from deepal_autoal.cli.advice import advice_options, plot_choices, show_advice
from deepal_autoal.cli.shared_options import UserPath
from deepal_autoal.errors import DeepALError, InputError, PluginError, UnknownNameError
from deepal_autoal.experiment.protocols import PROTOCOLS, find_protocol
from deepal_autoal.isolation.blame import BUILTIN_DISTRIBUTION, normalize
from deepal_autoal.jsonable import to_jsonable
from deepal_autoal.models.names import model_options
from deepal_autoal.plugins.cost_formulas import format_cost
from deepal_autoal.plugins.discovery import DISABLE_VARIABLE
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.options import constructor_options, describe_options
from deepal_autoal.plugins.registry import Entry

# Of a card, which is read on any terminal.
WIDTH = 80
# A column cut to this width is still readable.
_READABLE = 24

_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON array of objects.")


@click.command("strategies")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--advise", is_flag=True, help="Which strategies suit the data, model, budget and machine, and why.")
@advice_options
@click.option(
    "--plot",
    type=UserPath(),
    metavar="FILE",
    help="Draw what the named strategies choose on a two-dimensional toy set, as FILE.png or FILE.svg.",
)
@_json_option
def list_strategies(names: Sequence[str], advise: bool, plot: Path | None, as_json: bool, **situation: Any) -> None:
    """List the query strategies, or show the full cards of those named.

    Time and memory are those of a query beyond the pass over the pool that all strategies share: N candidates,
    L labeled samples, b batch size, C classes, D embedding dimensions, P numbers in an input, T dropout passes,
    M ensemble members, K candidates of a selector, E epochs of the strategy's own network; ask: the cost of all
    candidates, sweep: one pass of the task model over the pool, fit: one training of it.
    """
    registry = plugin_host().strategies
    given = [f"--{name.replace('_', '-')}" for name, value in situation.items() if value is not None]
    if given and not advise:
        raise InputError(f"{given[0]} is for --advise: add it")
    for option in ("target", "image_size", "data_dir"):
        if situation[option] is not None and situation["dataset"] is None:
            raise InputError(f"--{option.replace('_', '-')} says how to read data: give --dataset, too")
    if plot is not None and (advise or as_json):
        raise InputError("--plot writes a picture only: leave out --advise and --json")
    if advise:
        show_advice(names, as_json, situation)
        return
    if plot is not None:
        click.echo(f"Picture: {plot_choices(names, plot)}")
        return
    if names:
        _show_cards([describe_card(registry.get(name)) for name in names], as_json)
        return
    rows = [entry.describe() for entry in registry.entries()]
    if as_json:
        _show(rows, (), as_json)
        return
    _note_slow_plugins()
    click.echo("\n".join(_briefly(rows)))
    click.echo("\nCards with needs, cost and options: deepal strategies NAME; as data: --json")


def _briefly(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line or two for each strategy: name, family, and what it queries; another's distribution is named."""
    names = max(len(row["name"]) for row in rows)
    families = max(len(row["family"]) for row in rows)
    lines = []
    for row in rows:
        origin = "" if row["distribution"] == BUILTIN_DISTRIBUTION else f" ({row['distribution']} {row['version']})"
        start = f"{row['name']:<{names}}  {row['family']:<{families}}  "
        lines += _wrapped(f"{start}{row['summary']}{origin}", len(start))
    return lines


@click.command("datasets")
@_json_option
def list_datasets(as_json: bool) -> None:
    """List the named datasets; --dataset also takes a path."""
    _show([entry.describe() for entry in plugin_host().datasets.entries()],
          ("name", "summary", "reference", "distribution"), as_json)  # fmt: skip


@click.command("models")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_json_option
def list_models(names: Sequence[str], as_json: bool) -> None:
    """List the task models, or show those named with their options and the options' defaults.

    Options are given in brackets: --model "resnet18[stem=cifar,maxpool=true]". A model of a family such as torchvision
    is named torchvision/resnet50.
    """
    if names:
        _show_cards([describe_model(plugin_host().models.get(name)) for name in names], as_json)
        return
    _show([entry.describe() for entry in plugin_host().models.entries()],
          ("name", "inputs", "summary", "reference", "distribution"), as_json)  # fmt: skip


@click.command("protocols")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_json_option
def list_protocols(names: Sequence[str], as_json: bool) -> None:
    """List papers' settings for --protocol, or show those named in full.

    A run's own options take precedence: --protocol deepal+/cifar10 --rounds 3.
    """
    protocols = [find_protocol(name) for name in names] or [PROTOCOLS[name] for name in sorted(PROTOCOLS)]
    described = [protocol.describe() for protocol in protocols]
    if names and not as_json:
        click.echo("\n\n".join(map(_format_protocol, described)))
    else:
        _show(described, ("name", "dataset", "model", "summary", "reference"), as_json)


def _format_protocol(protocol: Mapping[str, Any]) -> str:
    """Return a protocol's settings as lines of text, with a mark at those that are not from a paper."""
    flat = {key: protocol[key] for key in protocol if key not in ("recipe", "strategies", "chosen")}
    flat |= protocol["recipe"]
    if "dropout" in protocol["chosen"]:
        flat["dropout"] = "in front of the classifier"
    for name, options in protocol["strategies"].items():
        flat[f"strategy {name}"] = ", ".join(f"{key}={value}" for key, value in options.items())
    lines = [
        f"{key.replace('_', ' '):<19} {_cell(value) or 'none'}{' *' if key in protocol['chosen'] else ''}"
        for key, value in flat.items()
    ]
    return "\n".join([*lines, "* chosen here: not stated by the paper or its code, or not checked against them"])


@click.command("plugins")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_json_option
def list_plugins(names: Sequence[str], as_json: bool) -> None:
    """List the distributions that provide plugins, or show all details of those named, including imports.

    States: loaded; loaded in part (some of its names are refused); failed; refused (its name is taken); disabled. A
    plugin that is not loaded does not affect the others. DEEPAL_DISABLE_PLUGINS=NAME,... disables third-party plugins
    by the name of their entry point or distribution, DEEPAL_DISABLE_PLUGINS=all-external all of them.
    """
    host = plugin_host()
    described = host.describe()
    if host.unknown_disabled:
        unknown = ", ".join(host.unknown_disabled)
        click.echo(f"Warning: {DISABLE_VARIABLE} names {unknown}, which matches no third-party plugin", err=True)
    if names:
        described = [plugin for name in names for plugin in _plugins_named(name, described)]
        if not as_json:
            click.echo("\n\n".join(_format_plugin(plugin) for plugin in described))
            return
    _show(described, ("name", "version", "state", "summary"), as_json)


def _plugins_named(name: str, described: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [
        plugin
        for plugin in described
        if normalize(name) == normalize(plugin["name"])
        or any(name == point["name"] for point in plugin["entry_points"])
    ]
    if not found:
        raise UnknownNameError("plugin", name, {plugin["name"] for plugin in described}, "`deepal plugins` lists all.")
    return found


def _format_plugin(plugin: Mapping[str, Any]) -> str:
    """Return all details of a distribution's plugins, with the tracebacks of those that failed."""
    lines = [f"{plugin['name']} {plugin['version']}: {plugin['state']}"]
    for point in plugin["entry_points"]:
        lines.append(f"  {point['name']} = {point['value']}: {point['state']}, {point['seconds']:.2f} s")
        lines += [f"    provides {name}" for name in point["provides"]]
        lines += [f"    {problem}" for problem in point["problems"]]
    host = plugin_host()
    for entry in (entry for registry in host.registries for entry in registry.entries()):
        if entry.provider.distribution == plugin["name"]:
            try:
                entry.load()
            except PluginError as error:  # a "module:attribute" is first imported here
                lines += ["", str(error)]
                if error.__cause__ is not None:
                    lines += "".join(traceback.format_exception(error.__cause__)).rstrip().splitlines()
    for record in host.records:
        if record.error is not None and record.provider.distribution == plugin["name"]:
            lines += ["", *"".join(traceback.format_exception(record.error)).rstrip().splitlines()]
    return "\n".join(lines)


def readable_card(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return a strategy's or model's entry in readable form."""
    readable = dict(described)
    readable["training"] = "changed" if readable.pop("changes_training", False) else ""
    for key in ("time", "memory"):
        readable[key] = format_cost(described.get(key, ""))
    if "measured" in described:
        readable["measured"] = "; ".join(f"{item['points']:+.2f} on {item['study']}" for item in described["measured"])
    if "family" in described and isinstance(described["family"], bool):
        readable["family"] = f"yes: {described['name']}/ARCHITECTURE" if described["family"] else ""
    return readable


def describe_card(entry: Entry) -> dict[str, Any]:
    """Return a strategy's entry with its options, the defaults in force and what they mean; this imports it."""
    target = entry.load()
    options = _defaults(constructor_options(target))
    meanings = describe_options(target)
    card = {
        **entry.describe(),
        "options": {**options, **_defaults_in_force(entry.name, options)},
        "option_meanings": {name: meanings[name] for name in options if name in meanings},
    }
    defaults = getattr(target, "default_candidates", None)
    return card if defaults is None else {**card, "default_candidates": list(defaults)}


def _defaults_in_force(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults that a strategy itself fills in, as autoal does by its variant."""
    from deepal_autoal.strategies.factory import create_strategy

    try:
        described = create_strategy(name).describe_options()
    except DeepALError:  # it needs an option, or one of its candidates is missing
        return {}
    return {key: to_jsonable(described[key], strict=False) for key in options if described.get(key) is not None}


def describe_model(entry: Entry) -> dict[str, Any]:
    """Return a model's entry with its options and their defaults, which requires importing it."""
    return {**entry.describe(), "options": _defaults(model_options(entry))}


def _defaults(options: Mapping[str, Parameter]) -> dict[str, Any]:
    return {
        name: None if option.default is option.empty else to_jsonable(option.default, strict=False)
        for name, option in options.items()
    }


def _show_cards(cards: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    click.echo(json.dumps(cards, indent=2) if as_json else "\n\n".join(format_card(card) for card in cards))


def format_card(card: Mapping[str, Any]) -> str:
    """Return a strategy's or model's card as lines of text."""
    lines = []
    for key, value in readable_card(card).items():
        if key == "option_meanings":
            continue
        if key == "options" and card.get("option_meanings"):
            lines += _explained_options(value, card["option_meanings"])
            continue
        if key == "options":
            value = " ".join(f"{name}={_option_value(option)}" for name, option in value.items())
        if value not in ("", []):
            lines += _wrapped(f"{key.replace('_', ' '):<20}{_cell(value)}", 20)
    return "\n".join(lines)


def _explained_options(options: Mapping[str, Any], meanings: Mapping[str, str]) -> list[str]:
    """Return a paragraph for each option: its default, and what it means."""
    lines = ["options, with their defaults (-o NAME=VALUE)"]
    for name, value in options.items():
        lines += _wrapped(f"  {name}={_option_value(value)}  {meanings.get(name, '')}".rstrip(), 6)
    return lines


def _option_value(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )  # fmt: skip


def _show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    _note_slow_plugins()
    if not rows:
        click.echo("None.")
        return
    table = [[_cell(row[column]) for column in columns] for row in rows]
    shown = len(columns) if not sys.stdout.isatty() else fitting_columns(columns, table)
    click.echo("\n".join(format_table(columns[:shown], [line[:shown] for line in table])))
    if shown < len(columns):
        click.echo(f"\n{', '.join(columns[shown:])}: widen the terminal, or use --json")


def _note_slow_plugins() -> None:
    for line in plugin_host().slow():
        click.echo(f"Note: {line}: see `deepal plugins`", err=True)


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def fitting_columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return how many columns fit the terminal if none is cut below a readable width; at least one, the name."""
    room = shutil.get_terminal_size().columns
    for column, name in enumerate(head):
        room -= 2 + min(_READABLE, max(len(name), *(len(row[column]) for row in rows)))
        if room < -2:
            return max(1, column)
    return len(head)


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Return the lines of a table with aligned columns; on a terminal, the widest are cut to fit its width."""
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
