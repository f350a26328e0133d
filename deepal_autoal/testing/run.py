"""`check_strategy`: run all checks of one strategy, one after the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch
from threadpoolctl import threadpool_limits

from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.testing.checks import CHECKS, Check
from deepal_autoal.testing.evidence import close, other_process_of
from deepal_autoal.testing.failure_text import format_failure
from deepal_autoal.testing.observation import process_state, restore_process
from deepal_autoal.testing.printing import Printing
from deepal_autoal.testing.report import FAILED, PASSED, SKIPPED, CheckFailedError, CheckSkippedError, Report, Result
from deepal_autoal.testing.subject import Subject
from deepal_autoal.testing.time_limit import OutOfTimeError, TimeLimit

if TYPE_CHECKING:
    from deepal_autoal.querying.strategy import Strategy


@engine_call()
def check_strategy(
    strategy: str | Callable[..., Strategy],
    *,
    candidates: Sequence[str] | None = None,
    on_result: Callable[[Result], None] | None = None,
    **options: Any,
) -> Report:
    """Check that a strategy keeps the contract; it takes seconds and changes nothing in this process.

    Args:
        strategy: A registered name, a `Strategy` class, or a function that returns a new strategy each time.
        candidates: Names of a selector's candidates; its defaults if None.
        on_result: Called with each result as soon as it is known.
        options: Constructor options, checked as given.

    Returns:
        The report: ``report.ok``, ``report.failures``, ``report.results``; ``str(report)`` explains the failures.

    Raises:
        UnknownNameError: If the strategy, a candidate or an option does not exist.
        DeepALError: If the strategy cannot be created.
    """
    return check_with_options(strategy, candidates, on_result, options)


def check_with_options(
    strategy: str | Callable[..., Strategy],
    candidates: Sequence[str] | None,
    on_result: Callable[[Result], None] | None,
    options: Mapping[str, Any],
    deadline: float | None = None,
) -> Report:
    """Check a strategy as `check_strategy` does, with options of any name, as users type them.

    Args:
        strategy, candidates, on_result, options: See `check_strategy`.
        deadline: By `time.monotonic`: when a query under way is interrupted, and checks that need more queries are
            skipped. None for no limit.
    """
    start = time.perf_counter()
    printing, limit = Printing(), TimeLimit(deadline)
    with printing.captured():
        subject = Subject(strategy, candidates, options, limit)
    results = []
    try:
        with quiet_process():
            with suppress(OutOfTimeError), printing.captured(), limit.enforced():
                other_process_of(subject)  # runs beside the other checks
            for check in CHECKS:
                with printing.captured():
                    results.append(run_check(check, subject))
                if on_result is not None:
                    on_result(results[-1])
    finally:
        close(subject)
    return Report(
        subject.name, subject.origin, tuple(results), time.perf_counter() - start, printing.n_lines, printing.first_line
    )


def run_check(check: Check, subject: Subject) -> Result:
    """Run one check; an error becomes part of the result."""
    start = time.perf_counter()
    status, parts, note, out_of_time = PASSED, {}, "", False
    with quiet_process():
        try:
            with subject.limit.enforced():
                note = check.function(subject) or ""
        except OutOfTimeError:
            status, note, out_of_time = SKIPPED, "no time was left", True
        except CheckSkippedError as reason:
            status, note = SKIPPED, str(reason)
        except CheckFailedError as failure:
            status, parts = FAILED, {"expected": failure.expected, "got": failure.got, "fix": failure.fix}
        except Exception as error:
            got = format_failure(error, subject.home)
            status = FAILED
            parts = {"expected": "no error", "got": got, "fix": "see where it was raised"}
    seconds = time.perf_counter() - start
    return Result(check.name, check.summary, status, seconds, note=note, out_of_time=out_of_time, **parts)


@contextmanager
def quiet_process() -> Iterator[None]:
    """Use one thread, for reproducible results, and log errors only; restore the process state afterwards."""
    before = process_state()
    logger = logging.getLogger("deepal_autoal")
    level = logger.level
    logger.setLevel(logging.ERROR)
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        logger.setLevel(level)
        restore_process(before)
