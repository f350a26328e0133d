"""Where the wall time of a run goes: named sections of its work.

A `section` is a `Stopwatch` with a name. Its ``seconds`` are the whole block's, as a round's record has them. An active
`Profile`, if there is one, is charged them by name without the time of inner sections, so its parts add up to the
run's wall time. Without one, a section only reads the clock, so any code may contain sections.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from deepal_autoal.measuring.resources import Stopwatch, wait_for

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

OTHER = "other"


@dataclass
class Part:
    """The time a section took within one phase.

    Attributes:
        seconds: Wall time without that of inner sections.
        waiting: Seconds of it in which the main thread computed neither in Python nor in a library, but waited for
            the disk, the device, other threads or other programs.
        times: How often the section was entered.
    """

    seconds: float = 0.0
    waiting: float = 0.0
    times: int = 0


@dataclass
class Phase:
    """The start, one round, or the end of a run.

    Attributes:
        name: Such as ``"round 0"``.
        parts: By section name, in the order of first entry; `OTHER` is the time outside all sections.
        n_passed: Samples that `FittedModel.sweep` passed through models, including test samples.
        n_again: How many of them the same model had already seen in this phase.
    """

    name: str
    parts: dict[str, Part] = field(default_factory=dict)
    n_passed: int = 0
    n_again: int = 0


class _Here(threading.local):
    """The profile that is active in this thread; other threads' work counts as waiting."""

    profile: Profile | None = None


_here = _Here()


@contextmanager
def section(name: str, device: torch.device | None = None) -> Iterator[Stopwatch]:
    """Time a block, or the calls of a function, and charge it to a part of the active profile, if there is one.

    Args:
        name: Name of the part, such as ``"outputs"``.
        device: As for `Stopwatch`, which the ``with`` statement gives.
    """
    profile = _here.profile
    if profile is not None:
        profile.enter(name)
    try:
        with Stopwatch(device) as watch:
            yield watch
    finally:
        if profile is not None:
            profile.leave()


class Profile:
    """Collects where a run's time goes; `active` makes it the one that sections report to.

    Args:
        earlier: Seconds already spent, which belong to the first phase's part ``earlier_name``, and how many of them
            the main thread computed.
        earlier_name: What they were spent on.
        clock: Returns seconds of wall time.
        computing: Returns the seconds that this thread has computed.

    Attributes:
        phases: The start, rounds and end of the run so far.
        is_resumed: Whether the run had earlier rounds.
        is_stopped: Whether the profile is stopped: nothing more is charged to it.
    """

    def __init__(
        self,
        earlier: tuple[float, float] | None = None,
        earlier_name: str = "start and imports",
        clock: Callable[[], float] = time.perf_counter,
        computing: Callable[[], float] = time.thread_time,
    ) -> None:
        self.phases = [Phase("start")]
        self.is_resumed = False
        self._clock, self._computing = clock, computing
        self._open: list[str] = []
        self._seen: WeakKeyDictionary[object, WeakKeyDictionary[Sized, NDArray[np.bool_]]] = WeakKeyDictionary()
        self._device: torch.device | None = None
        self.is_stopped = False
        self._mark = clock(), computing()
        if earlier is not None:
            seconds, computed = earlier
            self.phases[0].parts[earlier_name] = Part(seconds, max(0.0, seconds - computed), 1)

    @classmethod
    def of_process(cls) -> Profile:
        """Return a profile that begins when the process did, if the system reports it; else now."""
        age = _process_age()
        return cls(None if age is None else (age, time.thread_time()))

    @property
    def seconds(self) -> float:
        """All wall time charged so far."""
        return sum(part.seconds for phase in self.phases for part in phase.parts.values())

    @contextmanager
    def active(self) -> Iterator[None]:
        """Have this thread's sections report to this profile within the block."""
        before, _here.profile = _here.profile, self
        try:
            yield
        finally:
            self.stop()
            _here.profile = before

    def stop(self) -> None:
        """Charge the time until now and nothing after it."""
        if not self.is_stopped:
            self._charge()
            self.is_stopped = True

    def on(self, device: torch.device) -> None:
        """Wait for a CUDA device at the ends of sections, so each is charged for its own work there."""
        self._device = device if device.type == "cuda" else None

    def begin(self, phase: str) -> None:
        """Start a new phase; the time from now on is charged to it."""
        self._charge()
        self.phases.append(Phase(phase))
        self._seen.clear()

    def enter(self, name: str) -> None:
        """Open a section inside the current one."""
        self._charge()
        self._open.append(name)
        self._part(name).times += 1

    def leave(self) -> None:
        """Close the section opened last."""
        self._charge()
        if self._open:
            self._open.pop()

    def passed(self, model: object, inputs: Sized, indices: NDArray[np.int64]) -> None:
        """Count samples that pass through a model."""
        import numpy as np

        seen = self._seen.setdefault(model, WeakKeyDictionary())
        if inputs not in seen:
            seen[inputs] = np.zeros(len(inputs), dtype=bool)
        phase = self.phases[-1]
        phase.n_passed += len(indices)
        phase.n_again += int(seen[inputs][indices].sum())
        seen[inputs][indices] = True

    def _part(self, name: str) -> Part:
        return self.phases[-1].parts.setdefault(name, Part())

    def _charge(self) -> None:
        """Charge the time since the last call to the innermost open section."""
        if self.is_stopped:
            return
        waited = self._wait_for_device()
        clock, computed = self._clock(), self._computing()
        seconds = clock - self._mark[0]
        part = self._part(self._open[-1] if self._open else OTHER)
        part.seconds += seconds
        # A thread that waits for CUDA may spin, which counts as computing.
        part.waiting += max(0.0, seconds - (computed - self._mark[1]) + waited)
        self._mark = clock, computed

    def _wait_for_device(self) -> float:
        """Wait for the device; return for how many seconds the thread spun meanwhile."""
        if self._device is None:
            return 0.0
        before = self._computing()
        wait_for(self._device)
        return self._computing() - before


def active_profile() -> Profile | None:
    """Return the profile that is active in this thread, if any."""
    return _here.profile


def count_passed(model: object, inputs: Sized, indices: NDArray[np.int64]) -> None:
    """Report samples that pass through a model to the active profile, if there is one."""
    if _here.profile is not None:
        _here.profile.passed(model, inputs, indices)


def _process_age() -> float | None:
    """Return how many seconds ago this process started; None where the system does not report it."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        with open("/proc/self/stat") as file:
            # The name, in parentheses, may hold spaces; the start is the 20th field after it.
            ticks = int(file.read().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    return age if age >= 0 else None
