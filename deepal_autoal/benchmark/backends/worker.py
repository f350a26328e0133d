"""A worker process: it reads jobs from standard input, a line of JSON each, and writes messages to standard output.

`deepal_autoal.benchmark.backends.processes` starts ``python -m deepal_autoal.benchmark.backends.worker``.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from typing import IO, Any

from deepal_autoal.benchmark.backends.job import Job, do

LOGGERS = ("deepal_autoal", "deepal_events", "deepal_strategies")
# Between two messages of a phase; a progress bar needs no more.
_SECONDS = 0.2


def main() -> None:
    """Execute jobs until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process gets it as well, and ends us
    send = Sender(_messages())
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()
    logging.basicConfig(handlers=[_Forward(send)])
    import deepal_autoal.experiment.loop  # noqa: F401  # before the first job arrives

    while True:
        task = jobs.get()
        for name in LOGGERS:
            logging.getLogger(name).setLevel(task["level"])
        job = Job(**task["job"])
        failure = do(job, send.phase, lambda record: send(kind="round", record=record))
        send(kind="end", failure=failure)


class Sender:
    """Writes messages, a line of JSON each.

    Args:
        file: The file to write to.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._last = ("", 0.0)

    def __call__(self, **message: Any) -> None:
        """Write a message; may be called from any thread."""
        with self._lock:
            self._file.write(json.dumps(message) + "\n")
            self._file.flush()

    def phase(self, phase: str, done: int, total: int) -> None:
        """Report the progress of a phase, unless it was reported a moment ago."""
        now = time.monotonic()
        if phase != self._last[0] or now - self._last[1] > _SECONDS:
            self._last = (phase, now)
            self(kind="phase", phase=phase, done=done, total=total)


class _Forward(logging.Handler):
    """Sends log records to the parent process."""

    def __init__(self, send: Sender) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record) if record.exc_info else record.getMessage()
        self._send(kind="log", name=record.name, level=record.levelno, text=text)


def _messages() -> IO[str]:
    """Return the original standard output; output of plugins goes to standard error instead."""
    sys.stdout.flush()
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return messages


def _read(jobs: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    # The parent process has ended, and run folders are consistent at any moment.
    os._exit(1)


def log_level() -> int:
    """Return the level from which this process logs."""
    return logging.getLogger(LOGGERS[0]).getEffectiveLevel()


def job_line(job: Job, level: int | None = None) -> str:
    """Return a job as the line that a worker reads, with the level it logs from; by default this process's."""
    level = log_level() if level is None else level
    return json.dumps({"job": vars(job), "level": level}) + "\n"


if __name__ == "__main__":
    main()
