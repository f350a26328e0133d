"""Measurements of a strategy under test, made once and shared by the checks that need them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal.testing.other_process import OtherProcess
from deepal_autoal.testing.traces import Traces, watch

if TYPE_CHECKING:
    from deepal_autoal.testing.subject import Subject


def traces_of(subject: Subject) -> Traces:
    """Return the side effects of a query on `Subject.problem`."""
    traces: Traces = subject.measured("traces", lambda: watch(subject))
    return traces


def other_process_of(subject: Subject) -> OtherProcess:
    """Return the other process that runs the same queries; it is started once."""
    process: OtherProcess = subject.measured("other process", lambda: OtherProcess(subject))
    return process


def close(subject: Subject) -> None:
    """Remove the other process's files, if it was started (see `OtherProcess.close`)."""
    process: OtherProcess | None = subject.forget("other process")
    if process is not None:
        process.close()
