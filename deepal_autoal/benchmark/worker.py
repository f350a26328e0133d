"""A worker process: jobs come in on standard input, a line of JSON each, and messages go out on standard output.

``python -m deepal_autoal.benchmark.worker`` is started by `deepal_autoal.benchmark.processes`.
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

from deepal_autoal.benchmark.job import Job, do

LOGGERS = ("deepal_autoal", "deepal_events", "deepal_strategies")
# Between two messages of a phase; a bar needs no more.
_SECONDS = 0.2


def main() -> None:
    """Do jobs until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us hears it as well, and ends us
    send = Sender(_messages())
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()
    logging.basicConfig(handlers=[_Forward(send)])
    import deepal_autoal.loop  # noqa: F401  # while the first job is on its way

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
        file: Where to.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._last = ("", 0.0)

    def __call__(self, **message: Any) -> None:
        """Write a message; any thread may."""
        with self._lock:
            self._file.write(json.dumps(message) + "\n")
            self._file.flush()

    def phase(self, phase: str, done: int, total: int) -> None:
        """Tell how far a phase is, unless that was told a moment ago."""
        now = time.monotonic()
        if phase != self._last[0] or now - self._last[1] > _SECONDS:
            self._last = (phase, now)
            self(kind="phase", phase=phase, done=done, total=total)


class _Forward(logging.Handler):
    """Sends log records to whoever started us."""

    def __init__(self, send: Sender) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record) if record.exc_info else record.getMessage()
        self._send(kind="log", name=record.name, level=record.levelno, text=text)


def _messages() -> IO[str]:
    """Return what was standard output; what a plugin prints goes to standard error instead."""
    sys.stdout.flush()
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return messages


def _read(jobs: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    # Whoever started us has ended, and run folders are whole at any moment.
    os._exit(1)


def log_level() -> int:
    """Return from which level on this process logs."""
    return logging.getLogger(LOGGERS[0]).getEffectiveLevel()


def job_line(job: Job, level: int | None = None) -> str:
    """Return a job as the line that a worker reads, with the level that it logs from; this process's by default."""
    level = log_level() if level is None else level
    return json.dumps({"job": vars(job), "level": level}) + "\n"


if __name__ == "__main__":
    main()
