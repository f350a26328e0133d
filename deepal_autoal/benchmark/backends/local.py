"""The backend ``local``: this process, or several worker processes on this machine."""

from __future__ import annotations

from deepal_autoal.benchmark.backends.interface import Backend, Executor, OnMessage, Workload
from deepal_autoal.benchmark.backends.job import Job


class Local(Backend):
    """Executes runs on this machine: one after the other, or ``--jobs`` at a time in processes of their own."""

    def open(self, workload: Workload) -> Executor:
        """Return this process, or worker processes for several runs at a time."""
        n_jobs = min(workload.n_jobs or 1, workload.n_runs)
        if n_jobs == 1:
            return InThisProcess()
        from deepal_autoal.benchmark.backends.processes import Processes
        from deepal_autoal.numerics.devices import visible_gpus

        return Processes(n_jobs, workload.threads, visible_gpus(workload.device or "auto"))


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
        job.execute(lambda message: on_message(job, message))

    def close(self) -> None:
        """Do nothing: no job is running."""
