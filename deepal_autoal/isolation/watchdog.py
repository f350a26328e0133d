"""Logs plugin calls that take long."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


@contextmanager
def watched(what: str, seconds: float, level: int = logging.WARNING) -> Iterator[None]:
    """Log a line when the block has taken this long, and again each time that has doubled.

    Args:
        what: What is running, such as ``"strategy 'x' of dist 1.0 has been choosing"``.
        seconds: When to log the first line.
        level: Level of the line.
    """
    finished = threading.Event()

    def wait() -> None:
        start, due = time.monotonic(), seconds
        while not finished.wait(max(0.0, start + due - time.monotonic())):
            logger.log(level, "%s for %.0f s", what, due)
            due *= 2

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
