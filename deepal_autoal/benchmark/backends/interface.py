"""The interface of backends. A backend knows nothing of grids: it takes jobs and reports what happens to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from deepal_autoal.benchmark.backends.job import Job, do

OnMessage = Callable[[Job, Mapping[str, Any]], None]


class Backend(Protocol):
    """Executes jobs, at most `n_slots` at a time.

    Events are reported by ``on_message(job, message)``. A message is one of ``{"kind": "phase", "phase": ...,
    "done": ..., "total": ...}``, ``{"kind": "round", "record": {...}}``, ``{"kind": "log", "name": ..., "level": ...,
    "text": ...}`` and, as the last one of a job, ``{"kind": "end", "failure": ...}`` with None for success. It is
    called within `wait` only, so no locks are needed.
    """

    n_slots: int

    def start(self, job: Job) -> None:
        """Start a job; a slot is free."""

    def wait(self, on_message: OnMessage) -> None:
        """Return after at least one message was reported; at least one job is running."""

    def close(self) -> None:
        """Abandon running jobs; run folders are consistent at any moment."""


class InThisProcess:
    """Executes one job at a time, in this process."""

    n_slots = 1

    def __init__(self) -> None:
        self._job: Job | None = None

    def start(self, job: Job) -> None:
        """Keep the job until `wait` executes it."""
        self._job = job

    def wait(self, on_message: OnMessage) -> None:
        """Execute the job."""
        job, self._job = self._job, None
        assert job is not None
        failure = do(
            job,
            lambda phase, done, total: on_message(job, {"kind": "phase", "phase": phase, "done": done, "total": total}),
            lambda record: on_message(job, {"kind": "round", "record": record}),
        )
        on_message(job, {"kind": "end", "failure": failure})

    def close(self) -> None:
        """Do nothing: no job is running."""
