"""Results of checks: passed, failed with expected / got / fix, or skipped with the reason."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class CheckFailedError(AssertionError):
    """A check failed: what it guarantees does not hold.

    Args:
        expected: The expected result.
        got: The actual result.
        fix: How to fix it.
    """

    def __init__(self, expected: str, got: str, fix: str) -> None:
        super().__init__(f"expected {expected}; got {got}; {fix}")
        self.expected = expected
        self.got = got
        self.fix = fix


class CheckSkippedError(Exception):
    """A check that does not apply; the message says why."""


@dataclass(frozen=True)
class Result:
    """The outcome of one check.

    Attributes:
        name: The check's name, such as ``"batch-is-exact"``.
        summary: What holds if it passes, in one line.
        status: ``"passed"``, ``"failed"`` or ``"skipped"``.
        seconds: How long it took.
        expected, got, fix: See `CheckFailedError`; empty unless the check failed.
        note: Why it was skipped, or a remark although it passed.
        out_of_time: Whether it was skipped because the time for all checks was up.
    """

    name: str
    summary: str
    status: str
    seconds: float
    expected: str = ""
    got: str = ""
    fix: str = ""
    note: str = ""
    out_of_time: bool = False

    @property
    def cause(self) -> str:
        """What failures for one reason have in common: the type and place of an error, else what was got.

        Numbers and lists are left out, since the same fault shows with other sizes in other checks.
        """
        message, raised, place = self.got.rpartition(" (at ")
        if raised:
            return f"{message.partition(':')[0]} at {place}"
        return re.sub(r"\d+", "#", re.sub(r"\[[^\]]*\]", "[]", self.got))

    @property
    def message(self) -> str:
        """The three parts of a failure, one per line; otherwise the note, which may be empty."""
        if self.status != FAILED:
            return self.note
        return f"expected: {self.expected}\ngot:      {self.got}\nfix:      {self.fix}"


@dataclass(frozen=True)
class Report:
    """The outcome of all checks of one strategy, in the order in which they ran.

    Attributes:
        strategy: The strategy's name.
        origin: The distribution and version that it comes from; empty if it is not registered.
        results: One result for each check.
        seconds: How long all checks took.
        n_printed: How many lines the strategy printed in this process, which were not shown.
        first_printed: The first of them.
    """

    strategy: str
    origin: str
    results: tuple[Result, ...]
    seconds: float
    n_printed: int = 0
    first_printed: str = ""

    @property
    def ok(self) -> bool:
        """Whether no check failed; some may have been skipped for time (see `skipped_for_time`)."""
        return not self.failures

    @property
    def failures(self) -> list[Result]:
        """The results of the checks that failed."""
        return [result for result in self.results if result.status == FAILED]

    @property
    def skipped_for_time(self) -> list[str]:
        """The names of the checks for which no time was left."""
        return [result.name for result in self.results if result.out_of_time]

    def count(self, status: str) -> int:
        """Return how many checks ended with a status."""
        return sum(result.status == status for result in self.results)

    def describe(self) -> dict[str, Any]:
        """Return the report as a JSON-able dict, as ``deepal check --json`` prints it."""
        return {
            "name": self.strategy,
            "origin": self.origin,
            "ok": self.ok,
            **{status: self.count(status) for status in (PASSED, FAILED, SKIPPED)},
            "seconds": round(self.seconds, 3),
            "failures": [
                {
                    "checks": [result.name for result in alike],
                    "expected": alike[0].expected,
                    "got": alike[0].got,
                    "fix": alike[0].fix,
                }
                for alike in group_failures(self.failures)
            ],
            "skipped_for_time": self.skipped_for_time,
            "printed": {"lines": self.n_printed, "first": self.first_printed},
            "checks": [{**asdict(result), "seconds": round(result.seconds, 3)} for result in self.results],
        }

    @property
    def headline(self) -> str:
        """The counts and the total time in one line."""
        counts = ", ".join(f"{self.count(status)} {status}" for status in (PASSED, FAILED, SKIPPED))
        return f"{self.strategy}: {counts} in {self.seconds:.1f} s"

    def __str__(self) -> str:
        return "\n\n".join([*describe_failures(self.failures), self.headline])


def describe_failures(failures: Iterable[Result]) -> list[str]:
    """Return one paragraph for each cause of failures, the most frequent first."""
    return [_paragraph(results) for results in group_failures(failures)]


def group_failures(failures: Iterable[Result]) -> list[list[Result]]:
    """Return the failures by cause, the most frequent cause first."""
    alike: dict[str, list[Result]] = {}
    for failure in failures:
        alike.setdefault(failure.cause, []).append(failure)
    return sorted(alike.values(), key=len, reverse=True)


def list_names(title: str, names: Iterable[str]) -> str:
    """Return a title and names, in lines of usual width that are indented from the second on."""
    return textwrap.fill(
        f"{title}: {', '.join(names)}", 100, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def _paragraph(results: list[Result]) -> str:
    first, *others = results
    lines = [f"{first.name}: {first.summary}", *(f"  {line}" for line in first.message.splitlines())]
    if others:
        lines.append(list_names("  likewise", (result.name for result in others)))
    return "\n".join(lines)
