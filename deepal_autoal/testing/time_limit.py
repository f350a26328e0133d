"""The time that all checks of one strategy may take together, for strategies that take seconds per query."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What runs without a query, such as reading a card, takes less and is done even when time is up.
_GRACE = 1.0
# An interruption may be swallowed by the code that it meets, for example in a destructor: it is repeated.
_REPEAT = 0.5


class OutOfTimeError(KeyboardInterrupt):
    """The time is up; as an interruption, it passes through code that catches and blames errors."""


class TimeLimit:
    """Time for all checks together, by the clock on the wall.

    Args:
        deadline: When it ends, by `time.monotonic`; None for no limit.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self._deadline = deadline

    @property
    def left(self) -> float:
        """The seconds left; 0 if time is up."""
        return float("inf") if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def require(self) -> None:
        """Raise OutOfTimeError if time is up."""
        if not self.left:
            raise OutOfTimeError

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """Interrupt the block, by OutOfTimeError, when time is up.

        This takes an alarm signal, so it does nothing on Windows, in other threads, and where an alarm is set
        already: there, the limit is kept between queries only.
        """
        if self._deadline is None or not _may_set_alarm():
            yield
            return
        is_armed = True

        def stop(number: int, frame: FrameType | None) -> None:
            if is_armed:
                raise OutOfTimeError

        before = signal.signal(signal.SIGALRM, stop)
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, max(self.left, _GRACE), _REPEAT)
                yield
            finally:
                is_armed = False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def _may_set_alarm() -> bool:
    return (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getitimer(signal.ITIMER_REAL)[0] == 0
        and signal.getsignal(signal.SIGALRM) is not None
    )
