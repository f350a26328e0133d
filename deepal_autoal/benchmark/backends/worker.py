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
from collections.abc import Callable
from typing import IO, Any

from deepal_autoal.benchmark.backends.job import Job, Message

LOGGERS = ("deepal_autoal", "deepal_events", "deepal_strategies")
# Between two messages of a phase; a progress bar needs no more.
_SECONDS = 0.2


def _run(given: dict[str, Any], report: Callable[[Message], None]) -> None:
    Job(**given).execute(report)


def main(execute: Callable[[dict[str, Any], Callable[[Message], None]], None] = _run) -> None:
    """Execute jobs until standard input ends.

    Args:
        execute: Called with a job's attributes by name, and a function that sends messages.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process gets it as well, and ends us
    send = Sender(_messages())
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()
    logging.basicConfig(handlers=[_Forward(send)])
    import deepal_autoal.experiment.loop  # noqa: F401  # before the first job arrives

    while True:
        job = jobs.get()
        for name in LOGGERS:
            logging.getLogger(name).setLevel(job["log_level"])
        execute(job, send)
        if send.last.get("is_unusable"):
            os._exit(1)  # what failed may also hang at exit


class Sender:
    """Writes messages, a line of JSON each.

    Args:
        file: The file to write to.

    Attributes:
        last: The last message.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._last = ("", 0.0)
        self.last: Message = {}

    def __call__(self, message: Message) -> None:
        """Write a message, unless it is of a phase reported a moment ago; may be called from any thread."""
        with self._lock:
            self.last = message
            if message["kind"] == "phase":
                now = time.monotonic()
                if message["phase"] == self._last[0] and now - self._last[1] <= _SECONDS:
                    return
                self._last = (message["phase"], now)
            self._file.write(json.dumps(message) + "\n")
            self._file.flush()


class _Forward(logging.Handler):
    """Sends log records to the parent process."""

    def __init__(self, send: Sender) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record) if record.exc_info else record.getMessage()
        self._send({"kind": "log", "name": record.name, "level": record.levelno, "text": text})


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


if __name__ == "__main__":
    main()
