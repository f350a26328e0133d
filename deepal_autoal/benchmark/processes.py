"""Several runs at a time on this machine, each in a worker process of its own."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

from deepal_autoal.benchmark.backends import Tell
from deepal_autoal.benchmark.job import Job
from deepal_autoal.benchmark.worker import job_line

# Each of these libraries would else take all cores in every process.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
_SECONDS_TO_END = 5.0
_SECONDS_TO_LOOK = 1.0


class Processes:
    """Does jobs in worker processes, which stay for the next job.

    A process that dies takes the job in it along and nothing else; another one takes its place. All of them end with
    this one, however it ends.

    Args:
        n_slots: How many.
        threads: CPU threads of each, of all libraries; None leaves that to them.
        n_gpus: GPUs to spread them over, if there are several.
    """

    def __init__(self, n_slots: int, threads: int | None = None, n_gpus: int = 0) -> None:
        self.n_slots = n_slots
        self._threads = threads
        self._n_gpus = n_gpus
        self._free: list[WorkerProcess] = []
        self._jobs: dict[WorkerProcess, Job] = {}
        self._messages: queue.SimpleQueue[tuple[WorkerProcess, dict[str, Any] | None]] = queue.SimpleQueue()

    def start(self, job: Job) -> None:
        """Give the job to a process that is free, or to a new one."""
        alive = [worker for worker in self._free if worker.is_alive]
        self._free = alive[:-1]
        worker = alive[-1] if alive else self._new_worker()
        self._jobs[worker] = job
        worker.send(job)

    def wait(self, tell: Tell) -> None:
        """Pass on one message."""
        worker, message = self._next()
        job = self._jobs.get(worker)
        if message is None:
            reason = worker.reason()
            worker.end()
            if worker in self._free:
                self._free.remove(worker)
            if job is not None:
                del self._jobs[worker]
                tell(job, {"kind": "end", "failure": reason})
        elif job is not None:
            if message["kind"] == "end":
                del self._jobs[worker]
                self._free.append(worker)
            tell(job, message)

    def _next(self) -> tuple[WorkerProcess, dict[str, Any] | None]:
        """Return the next message. A process that has died may have left a child that keeps its pipe open."""
        while True:
            try:
                return self._messages.get(timeout=_SECONDS_TO_LOOK)
            except queue.Empty:
                for worker in self._jobs:
                    if not worker.is_alive:
                        return worker, None

    def close(self) -> None:
        """End all processes."""
        workers = [*self._jobs, *self._free]
        self._jobs, self._free = {}, []
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end()

    def _new_worker(self) -> WorkerProcess:
        environment = dict(os.environ)
        environment |= thread_variables(self._threads)
        if self._n_gpus > 1:
            taken = [worker.gpu for worker in self._jobs]
            gpu = min(range(self._n_gpus), key=taken.count)
            visible = environment.get(_VISIBLE_GPUS, "")
            names = visible.split(",") if visible else [str(number) for number in range(self._n_gpus)]
            environment[_VISIBLE_GPUS] = names[gpu]
            return WorkerProcess(environment, self._messages, gpu)
        return WorkerProcess(environment, self._messages)


def thread_variables(threads: int | None) -> dict[str, str]:
    """Return the environment variables that give each library this many threads; None leaves that to them."""
    return {} if threads is None else dict.fromkeys(_THREAD_VARIABLES, str(threads))


class WorkerProcess:
    """A worker process, and a thread that waits for what it says.

    Args:
        environment: Its variables.
        messages: Takes what it says, and None as the last of it.
        gpu: The one that it was given.
        folder: Where it starts; None: here.
    """

    def __init__(
        self,
        environment: dict[str, str],
        messages: queue.SimpleQueue[tuple[WorkerProcess, dict[str, Any] | None]],
        gpu: int = 0,
        folder: str | None = None,
    ) -> None:
        self.gpu = gpu
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deepal_autoal.benchmark.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, encoding="utf-8", env=environment, cwd=folder,
        )  # fmt: skip
        threading.Thread(target=self._listen, args=(messages,), daemon=True).start()

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def send(self, job: Job, level: int | None = None) -> None:
        """Give it a job, and say from which level on it logs (see `job_line`)."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has died; its end tells that
            self.process.stdin.write(job_line(job, level))
            self.process.stdin.flush()

    def reason(self) -> str:
        """Return what became of a process that said no more, in a line."""
        status = self.process.wait()
        if status >= 0:
            return f"its process ended with status {status}"
        known = {int(one): one.name for one in signal.Signals}
        name = known.get(-status, f"signal {-status}")
        hint = ": systems that run out of memory do that; fewer --jobs take less" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"

    def end(self) -> None:
        """Wait for its end, and enforce it."""
        try:
            self.process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def _listen(self, messages: queue.SimpleQueue[tuple[WorkerProcess, dict[str, Any] | None]]) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                try:
                    message = json.loads(line)
                    message["kind"]
                except (ValueError, TypeError, KeyError):
                    sys.stderr.write(line)  # printed before the worker took standard output for its messages
                else:
                    messages.put((self, message))
        messages.put((self, None))
