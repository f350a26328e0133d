"""``deepal check``: check that a strategy satisfies the contract."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import click

from deepal_autoal.cli.logging_setup import set_up_logging
from deepal_autoal.cli.shared_options import split_option
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.run_settings import split_names
from deepal_autoal.strategies.candidate_sets import check_names

if TYPE_CHECKING:
    from deepal_autoal.testing import Report, Result

FAILURES_REPORTED = 1
DEFAULT_SECONDS = 28.0
"""Half a minute, but for the start and the end of the process."""

_MARKS = {"passed": "✓", "failed": "✗", "skipped": "–"}  # noqa: RUF001
_PLAIN_MARKS = {"passed": "ok", "failed": "FAIL", "skipped": "-"}
_COLORS = {"passed": "green", "failed": "red", "skipped": "yellow"}


@click.command("check")
@click.argument("name")
@click.option("--candidates", metavar="A,B,C", help="Candidates of a selector, as for run; its defaults otherwise.")
@click.option(
    "-o", "--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the strategy. Repeatable."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULT_SECONDS,
    show_default=True,
    metavar="S",
    help="When to stop: checks that need more queries are then skipped, by name.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def check_command(name: str, candidates: str | None, options: tuple[str, ...], seconds: float, as_json: bool) -> int:
    """Check that a strategy satisfies the contract: exact, reproducible, without side effects.

    Small models are trained, which takes seconds. Exit status: 0 no check failed (some may have been skipped), 1 a
    check failed, 2 no such strategy.
    """
    start = time.monotonic()  # importing torch counts
    set_up_logging(False)
    plugin_host().strategies.get(name)  # report typos before loading torch
    check_names(split_names(candidates or ""))
    from deepal_autoal.testing.run import check_with_options

    given = dict(split_option(option) for option in options)
    report = check_with_options(name, candidates, None if as_json else _Lines().show, given, start + seconds)
    if as_json:
        click.echo(json.dumps(report.describe(), indent=2))
    else:
        _finish(report, seconds)
    return 0 if report.ok else FAILURES_REPORTED


class _Lines:
    """Shows a line per result; what one cause does to further checks is left to the end."""

    def __init__(self) -> None:
        self._causes: set[str] = set()

    def show(self, result: Result) -> None:
        if result.out_of_time:
            return
        if result.status == "failed":
            if result.cause in self._causes:
                return
            self._causes.add(result.cause)
        line = f"{_mark(result.status)} {result.name:<32}{result.seconds:5.1f} s"
        click.echo(f"{line}  {result.note}" if result.note else line)


def _finish(report: Report, seconds: float) -> None:
    from deepal_autoal.testing.report import describe_failures, list_names

    for paragraph in describe_failures(report.failures):
        click.echo(f"\n{_mark('failed')} {paragraph}")
    skipped = report.skipped_for_time
    if skipped:
        click.echo(f"\n{_mark('skipped')} {list_names('skipped, as no time was left', skipped)}")
        click.echo(f"  the limit is {seconds:g} s; for a full check, repeat it with --seconds {10 * seconds:g}")
    if report.n_printed:
        lines = f"{report.n_printed:,} line" + "s" * (report.n_printed > 1)
        click.echo(f"\nIt printed {lines}, not shown here; the first: {report.first_printed}")
    origin = f" of {report.origin}" if report.origin else ""
    click.echo(f"\n{report.headline.replace(report.strategy, report.strategy + origin, 1)}")


def _mark(status: str) -> str:
    mark = _MARKS[status]
    try:
        mark.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        mark = f"{_PLAIN_MARKS[status]:<4}"
    return click.style(mark, fg=_COLORS[status])
