"""``deepal doctor``: what this installation and machine have, for a bug report."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import click

from deepal_autoal.cli.logging_setup import set_up_logging
from deepal_autoal.errors import without_controls

_FAULTS = 1
_WIDTH = 100
_KINDS = {"fault": "Fault", "slow": "Slow", "note": "Note"}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def doctor_command(as_json: bool) -> int:
    """Show what this installation and machine have, what is slow, and why.

    Takes some seconds, changes nothing, and connects to nothing. Paste the output into a bug report; your home folder
    is written as ~. Exit status 1 if something does not work.
    """
    set_up_logging(False)
    from deepal_autoal.doctor.examination import examine
    from deepal_autoal.doctor.remarks import judge

    found = examine()
    remarks = judge(found)
    if as_json:
        found["remarks"] = [{"kind": remark.kind, "text": remark.text} for remark in remarks]
        click.echo(json.dumps(found, indent=2))
    else:
        for line in _lines(found):
            click.echo(without_controls(line))
        click.echo()
        for remark in remarks:
            indent = " " * (len(_KINDS[remark.kind]) + 2)
            text = without_controls(f"{_KINDS[remark.kind]}: {remark.text}")
            click.echo("\n".join(textwrap.wrap(text, _WIDTH, subsequent_indent=indent, break_on_hyphens=False)))
        if not remarks:
            click.echo("Nothing is wrong or slow.")
    return _FAULTS if any(remark.kind == "fault" for remark in remarks) else 0


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    deepal, python, machine, torch = found["deepal"], found["python"], found["machine"], found["torch"]
    sources = ", from its sources" if deepal["is_from_sources"] else ""
    yield _row("deepal", f"{deepal['version']}{sources}, in {deepal['folder']}")
    yield _row("Python", f"{python['version']}, {python['executable']}")
    yield _row("system", python["platform"])
    memory = "" if machine["memory_gib"] is None else f", {machine['memory_gib']:g} GiB of memory"
    load = "" if machine["load"] is None else f", load {machine['load'][0]:g}"
    yield _row("machine", f"{_cores(machine)}{memory}{load}")
    if torch["error"] is None:
        build = f"CUDA {torch['cuda_build']}" if torch["cuda_build"] else "CPU build"
        yield _row("torch", f"{build}, {torch['threads']} threads, {torch['cpu']}")
    for device in torch["devices"]:
        if device["error"] is None:
            size = f", {device['free_gib']:g} of {device['memory_gib']:g} GiB free" if "memory_gib" in device else ""
            named = f"{device['name']}{size}, " if "name" in device else ""
            yield _row(device["device"], f"{named}{device['gflops']:,} GFLOP/s")
    there = {name: version for name, version in found["packages"].items() if version is not None}
    yield from _wrapped("packages", ", ".join(f"{name} {version}" for name, version in there.items()))
    yield from _wrapped("not installed", ", ".join(name for name in found["packages"] if name not in there))
    for plugin in found["plugins"]:
        yield _row("plugin", f"{plugin['name']} {plugin['version']}, {plugin['state']}: {plugin['summary']}")
    for name, folder in found["folders"].items():
        state = "" if folder["exists"] else ", not there"
        free = "" if folder.get("free_gib") is None else f", {folder['free_gib']:g} GiB free"
        sync = folder.get("sync_seconds")
        yield _row(
            name, f"{folder['path']}{state}{free}" + ("" if sync is None else f", a file in {1000 * sync:.1f} ms")
        )
    for name, value in found["environment"].items():
        yield _row(name, value)
    seconds = found["seconds"]
    yield _row("times", f"plugins {seconds['plugins']:.2f} s, import of torch {seconds['torch']:.1f} s")


def _row(name: str, text: str) -> str:
    return f"{name:<18}{text}"


def _wrapped(name: str, text: str) -> list[str]:
    lines = textwrap.wrap(text, _WIDTH - 18, break_on_hyphens=False)
    return [_row(name if not number else "", line) for number, line in enumerate(lines)]


def _cores(machine: Mapping[str, Any]) -> str:
    usable, cores = machine["usable_cores"], machine["cores"]
    if usable is None:
        return "an unknown number of cores"
    return f"{usable:g} cores" if cores is None else f"{usable:g} of {cores} cores"
