"""Execute several runs at a time on this machine, each in its own worker process."""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress

from deepal_autoal.benchmark.backends.interface import OnMessage
from deepal_autoal.benchmark.backends.job import Job, Message
from deepal_autoal.run_settings import GPU_SHARE

# Otherwise each of these libraries would use all cores in every process.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
WORKER = "deepal_autoal.benchmark.backends.worker"
_VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
_SECONDS_TO_END = 5.0
_POLL_SECONDS = 1.0


class Processes:
    """Executes jobs in worker processes, which are reused for the next job.

    A process that dies fails only its own job and is replaced. All of them end with this process, however it ends.

    Args:
        n_slots: Number of processes.
        threads: CPU threads of each, for all libraries; None leaves the number to them.
        n_gpus: GPUs to distribute them over, if there are several.
        module: What they execute, as in `WorkerProcess`.
    """

    def __init__(self, n_slots: int, threads: int | None = None, n_gpus: int = 0, module: str = WORKER) -> None:
        self.n_slots = n_slots
        self._module = module
        self._threads = threads
        self._n_gpus = n_gpus
        self._free: list[WorkerProcess] = []
        self._jobs: dict[WorkerProcess, Job] = {}
        self._messages: Messages = queue.SimpleQueue()

    def start(self, job: Job) -> None:
        """Send the job to an idle process, or to a new one."""
        alive = [worker for worker in self._free if worker.is_alive]
        self._free = alive[:-1]
        worker = alive[-1] if alive else self._new_worker()
        self._jobs[worker] = job
        worker.send(job)

    def wait(self, on_message: OnMessage) -> None:
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
                on_message(job, {"kind": "end", "failure": reason})
        elif job is not None:
            if message["kind"] == "end":
                del self._jobs[worker]
                if message.get("is_unusable"):
                    worker.end()
                else:
                    self._free.append(worker)
            on_message(job, message)

    def _next(self) -> tuple[WorkerProcess, Message | None]:
        """Return the next message. A dead process is polled for: a child of it may keep its pipe open."""
        while True:
            try:
                return self._messages.get(timeout=_POLL_SECONDS)
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
        environment = {}
        gpu = 0
        if self._n_gpus > 1:
            taken = [worker.gpu for worker in self._jobs]
            gpu = min(range(self._n_gpus), key=taken.count)
            visible = os.environ.get(_VISIBLE_GPUS, "")
            names = visible.split(",") if visible else [str(number) for number in range(self._n_gpus)]
            environment[_VISIBLE_GPUS] = names[gpu]
        share = 1 / math.ceil(self.n_slots / max(1, self._n_gpus))
        return WorkerProcess(self._messages, self._threads, environment, gpu=gpu, gpu_share=share, module=self._module)


class WorkerProcess:
    """A process on this machine that executes jobs one after the other, and a thread that receives its messages.

    It ends with this process, however this one ends.

    Args:
        messages: The queue into which its messages are put, each with this object; None is the last one.
        threads: Its CPU threads, for all libraries; None leaves the number to them.
        environment: Environment variables in addition to this process's.
        folder: Its working directory; None for the current one.
        gpu: Which GPU it uses, for the caller.
        gpu_share: Its part of the GPU, from 0 to 1, if processes share one.
        module: The module that it executes as its program.
    """

    def __init__(
        self,
        messages: Messages,
        threads: int | None = None,
        environment: Mapping[str, str] | None = None,
        folder: str | None = None,
        gpu: int = 0,
        gpu_share: float = 1.0,
        module: str = WORKER,
    ) -> None:
        self.gpu = gpu
        limits = {} if threads is None else dict.fromkeys(_THREAD_VARIABLES, str(threads))
        if gpu_share < 1:
            limits[GPU_SHARE] = str(gpu_share)
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
            env={**os.environ, **limits, **(environment or {})}, cwd=folder,
        )  # fmt: skip
        threading.Thread(target=self._listen, args=(messages,), daemon=True).start()

    @property
    def is_alive(self) -> bool:
        """Whether it is still running."""
        return self.process.poll() is None

    def send(self, job: Job) -> None:
        """Send it a job; it has no other, or has sent the end of the last one."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has died, which `_listen` reports
            self.process.stdin.write(json.dumps(vars(job)) + "\n")
            self.process.stdin.flush()

    def reason(self) -> str:
        """Return in one line why the process ended."""
        status = self.process.wait()
        if status >= 0:
            return f"its process ended with status {status}"
        known = {int(number): number.name for number in signal.Signals}
        name = known.get(-status, f"signal {-status}")
        hint = ": the system may have run out of memory; use fewer --jobs" if name == "SIGKILL" else ""
        return f"its process was killed by {name}{hint}"

    def end(self) -> None:
        """Wait for it to end, and kill it if it does not."""
        try:
            self.process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def _listen(self, messages: Messages) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                try:
                    message = json.loads(line)
                    message["kind"]
                except (ValueError, TypeError, KeyError):
                    sys.stderr.write(line)  # printed before the worker reserved standard output for messages
                else:
                    messages.put((self, message))
        messages.put((self, None))


Messages = queue.SimpleQueue[tuple[WorkerProcess, Message | None]]
