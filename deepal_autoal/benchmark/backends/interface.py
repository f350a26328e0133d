"""The interface of backends. A backend knows nothing of grids: it takes jobs and reports what happens to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from deepal_autoal.benchmark.backends.job import Job, Message

if TYPE_CHECKING:
    from deepal_autoal.isolation.blame import Provider

OnMessage = Callable[[Job, Message], None]


@dataclass(frozen=True)
class Workload:
    """What a benchmark asks of a backend.

    Attributes:
        out: The benchmark's folder, which exists; run folders are in it.
        n_runs: How many runs are left, at least 1.
        n_jobs: The maximum number of runs at a time, ``--jobs``; None leaves it to the backend.
        threads: CPU threads of each run.
        device: Of all runs, as `Backend.device` returned it.
        is_bound_here: Whether strategies are objects of this process, so that no other can execute the runs.
    """

    out: Path
    n_runs: int
    n_jobs: int | None
    threads: int
    device: str | None
    is_bound_here: bool = False


class Executor(Protocol):
    """Executes the jobs of one benchmark, at most ``n_slots`` at a time; the number may change.

    Its methods are called from one thread. A job can be executed in this process (`Job.execute`), in a
    `WorkerProcess`, or on another machine by either.
    """

    n_slots: int

    def start(self, job: Job) -> None:
        """Start a job; a slot is free."""

    def wait(self, on_message: OnMessage) -> None:
        """Return after at least one message was reported; at least one job is running.

        Messages are reported by ``on_message(job, message)``, within this method only, with the job that `start` got.
        The last message of a job is its end (see `Job.execute`).
        """

    def close(self) -> None:
        """Abandon running jobs; run folders are consistent at any moment."""


class Backend(ABC):
    """Where a benchmark executes its runs: ``--backend NAME`` creates one, before anything is trained.

    Constructor arguments are its options, ``--backend 'NAME[key=value,...]'``: annotate them, give each a default,
    and raise `InputError` there for what cannot be used. Options called ``address``, ``cpus_per_run`` and
    ``gpus_per_run`` are also set by ``--address``, ``--cpus-per-run`` and ``--gpus-per-run``.

    Attributes:
        is_remote: Whether runs are executed on other machines: this one need not have their device.
        name: The registered name; set by the engine.
        provider: The distribution that provides the backend; set by the engine.
    """

    is_remote: bool = False
    name: str = ""
    provider: Provider | None = None

    def device(self, device: str | None) -> str | None:
        """Return the device of all runs, which must not depend on the machine that executes one of them.

        Args:
            device: What ``--device`` says; None if it is not given.

        Returns:
            By default the same, and on other machines the CPU for ``auto``. A remote backend's is ``cpu``, ``cuda`` or
            ``mps``.
        """
        return "cpu" if self.is_remote and device in (None, "auto") else device

    def threads(self, n_jobs: int) -> int:
        """Return the CPU threads of each run if neither ``--threads`` nor earlier runs in the folder say.

        Args:
            n_jobs: How many runs are executed at a time, as far as ``--jobs`` says.

        Returns:
            By default this machine's cores, divided among the runs; on other machines 1.
        """
        import torch

        return 1 if self.is_remote else max(1, torch.get_num_threads() // n_jobs)

    @abstractmethod
    def open(self, workload: Workload) -> Executor:
        """Return what executes the runs: processes are started or a cluster is joined here, not earlier.

        Raises:
            InputError: If it cannot be reached, or no run fits.
        """

    def __str__(self) -> str:
        return f"backend {self.name or type(self).__name__!r} of {self.provider}"
