"""Say what became of the plugins: for ``deepal plugins``, and for a name that a plugin should have provided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from deepal_autoal.errors import PluginError
from deepal_autoal.isolation.blame import Provider
from deepal_autoal.plugins.plugin_record import PluginRecord


def describe_distributions(all_records: Iterable[PluginRecord]) -> list[dict[str, Any]]:
    """Return one JSON-able dict per distribution, as ``deepal plugins`` prints it."""
    grouped: dict[Provider, list[PluginRecord]] = defaultdict(list)
    for record in all_records:
        grouped[record.provider].append(record)
    described = []
    for provider, records in sorted(grouped.items(), key=lambda item: (not item[0].builtin, str(item[0]))):
        provides = [name for record in records for name in record.provides]
        problems = [f"{record.name}: {problem}" for record in records for problem in record.problems]
        problems += [
            f"{record.name}: took {record.seconds:.1f} s to load, and every command waits for it: import heavy "
            "packages inside functions, and give targets as 'module:attribute'"
            for record in records
            if record.is_slow
        ]
        described.append(
            {
                "name": provider.distribution,
                "version": provider.version,
                "summary": _summarize(provider, provides, problems),
                "state": _overall(records),
                "entry_points": [record.describe() for record in records],
                "provides": provides,
                "problems": problems,
            }
        )
    return described


def describe_slow(records: Iterable[PluginRecord]) -> list[str]:
    """Return a line for each third-party plugin that took long to load."""
    return [
        f"plugin {record.name!r} of {record.provider} took {record.seconds:.1f} s to load"
        for record in records
        if record.is_slow
    ]


def explain_missing(name: str, records: Iterable[PluginRecord]) -> PluginError | str | None:
    """Return why a name is missing: an error if the plugin of that name is not loaded, a hint if others are not."""
    not_loaded = [record for record in records if record.state != "loaded"]
    for record in not_loaded:
        if record.name == name:
            what = {"failed": "failed to load", "refused": "was refused", "disabled": "is disabled"}[record.state]
            error = PluginError(
                f"{name!r} is unavailable: the plugin of {record.provider} {what}: {'; '.join(record.problems)}"
                + (f" (`deepal plugins {name}` shows where)" if record.error is not None else "")
            )
            error.__cause__ = record.error
            return error
    if not not_loaded:
        return None
    providers = ", ".join(sorted({str(record.provider) for record in not_loaded}))
    return f"Plugins of {providers} are not loaded: see `deepal plugins`."


def _overall(records: Iterable[PluginRecord]) -> str:
    """Return the state of a distribution, given the states of its entry points."""
    states = {record.state for record in records}
    if len(states) == 1 and states != {"loaded"}:
        return states.pop()
    return "loaded" if states == {"loaded"} and not any(record.problems for record in records) else "loaded in part"


def _summarize(provider: Provider, provides: list[str], problems: list[str]) -> str:
    if problems:
        # Entry points that share a module share its problems.
        return "; ".join(dict.fromkeys(problems))
    if not provider.builtin:
        return ", ".join(provides)
    counts: dict[str, int] = defaultdict(int)
    for name in provides:
        counts[name.partition(" ")[0]] += 1
    plurals = {"strategy": "strategies"}
    return ", ".join(f"{n} {plurals.get(kind, kind + 's') if n > 1 else kind}" for kind, n in counts.items())
