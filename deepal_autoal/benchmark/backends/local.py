"""The backend ``local``: this process, or several worker processes on this machine."""

from __future__ import annotations

from deepal_autoal.benchmark.backends.interface import Backend, Executor, OnMessage, Workload
from deepal_autoal.benchmark.backends.job import Job, Message


class Local(Backend):
    """Executes runs on this machine: one after the other, or ``--jobs`` at a time in processes of their own."""

    def open(self, workload: Workload) -> Executor:
        """Return this process, or worker processes for several runs at a time and for runs on a GPU."""
        from deepal_autoal.numerics.devices import is_on_cuda, visible_gpus

        n_jobs, device = min(workload.n_jobs or 1, workload.n_runs), workload.device or "auto"
        # An error of CUDA may leave a process unusable, so runs on a GPU get one that can be replaced.
        if workload.is_bound_here or (n_jobs == 1 and not is_on_cuda(device)):
            return InThisProcess()
        from deepal_autoal.benchmark.backends.processes import Processes

        return Processes(n_jobs, workload.threads, visible_gpus(device))


class InThisProcess:
    """Executes one job at a time, in this process."""

    n_slots = 1

    def __init__(self) -> None:
        self._job: Job | None = None
        self._is_unusable = False

    def start(self, job: Job) -> None:
        """Keep the job until `wait` executes it."""
        self._job = job

    def wait(self, on_message: OnMessage) -> None:
        """Execute the job."""
        job, self._job = self._job, None
        assert job is not None
        if self._is_unusable:
            failure = (
                "CUDA failed in an earlier run, after which this process cannot use it; repeat the call in a new one"
            )
            on_message(job, {"kind": "end", "failure": failure})
            return

        def report(message: Message) -> None:
            self._is_unusable = message.get("is_unusable", False)
            on_message(job, message)

        job.execute(report)

    def close(self) -> None:
        """Do nothing: no job is running."""
