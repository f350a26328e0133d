"""Where a benchmark's runs are done. A backend knows nothing of grids: it takes jobs and tells what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from deepal_autoal.benchmark.job import Job, do

Tell = Callable[[Job, Mapping[str, Any]], None]


class Backend(Protocol):
    """Does jobs, at most `n_slots` at a time.

    What happens is told by ``tell(job, message)``, where a message is one of ``{"kind": "phase", "phase": ...,
    "done": ..., "total": ...}``, ``{"kind": "round", "record": {...}}``, ``{"kind": "log", "name": ..., "level": ...,
    "text": ...}`` and, as the last of a job, ``{"kind": "end", "failure": ...}`` with None for success. It is called
    within `wait` only, so that nobody needs locks.
    """

    n_slots: int

    def start(self, job: Job) -> None:
        """Begin a job; there is a free slot."""

    def wait(self, tell: Tell) -> None:
        """Return after something was told; at least one job is under way."""

    def close(self) -> None:
        """Give up what is under way; run folders are whole at any moment."""


class InThisProcess:
    """One job at a time, in this process."""

    n_slots = 1

    def __init__(self) -> None:
        self._job: Job | None = None

    def start(self, job: Job) -> None:
        """Keep the job until `wait` does it."""
        self._job = job

    def wait(self, tell: Tell) -> None:
        """Do the job."""
        job, self._job = self._job, None
        assert job is not None
        failure = do(
            job,
            lambda phase, done, total: tell(job, {"kind": "phase", "phase": phase, "done": done, "total": total}),
            lambda record: tell(job, {"kind": "round", "record": record}),
        )
        tell(job, {"kind": "end", "failure": failure})

    def close(self) -> None:
        """There is nothing to give up."""
