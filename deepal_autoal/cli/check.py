"""``deepal check``: check that a strategy satisfies the contract."""

from __future__ import annotations

import json
import sys
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

_MARKS = {"passed": "✓", "failed": "✗", "skipped": "–"}  # noqa: RUF001
_PLAIN_MARKS = {"passed": "ok", "failed": "FAIL", "skipped": "-"}
_COLORS = {"passed": "green", "failed": "red", "skipped": "yellow"}


@click.command("check")
@click.argument("name")
@click.option("--candidates", metavar="A,B,C", help="Candidates of a selector, as for run; its defaults otherwise.")
@click.option(
    "-o", "--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the strategy. Repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def check_command(name: str, candidates: str | None, options: tuple[str, ...], as_json: bool) -> int:
    """Check that a strategy satisfies the contract: exact, reproducible, without side effects.

    Small models are trained, which takes seconds. Exit status: 0 all passed, 1 a check failed, 2 no such strategy.
    """
    set_up_logging(False)
    plugin_host().strategies.get(name)  # report typos before loading torch
    check_names(split_names(candidates or ""))
    from deepal_autoal.testing.run import check_with_options

    given = dict(split_option(option) for option in options)
    report = check_with_options(name, candidates, None if as_json else _show, given)
    if as_json:
        click.echo(json.dumps(report.describe(), indent=2))
    else:
        _finish(report)
    return 0 if report.ok else FAILURES_REPORTED


def _show(result: Result) -> None:
    line = f"{_mark(result.status)} {result.name:<32}{result.seconds:5.1f} s"
    click.echo(f"{line}  {result.note}" if result.note else line)


def _finish(report: Report) -> None:
    from deepal_autoal.testing.report import describe_failures

    for paragraph in describe_failures(report.failures):
        click.echo(f"\n{_mark('failed')} {paragraph}")
    origin = f" of {report.origin}" if report.origin else ""
    click.echo(f"\n{report.headline.replace(report.strategy, report.strategy + origin, 1)}")


def _mark(status: str) -> str:
    mark = _MARKS[status]
    try:
        mark.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        mark = f"{_PLAIN_MARKS[status]:<4}"
    return click.style(mark, fg=_COLORS[status])
