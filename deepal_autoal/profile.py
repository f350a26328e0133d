"""Where the wall time of a run goes: named sections, each of which is charged the time not spent in inner ones.

Nothing is imported and next to nothing is done where no profile is active, so that sections may stand anywhere.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deepal_autoal.fitted import FittedModel
    from deepal_autoal.inputs import Inputs

OTHER = "other"


@dataclass
class Part:
    """What a section took within one phase.

    Attributes:
        seconds: Wall time without that of inner sections.
        waiting: Of it, what the main thread neither computed in Python nor in a library: it waited for the disk, the
            device, other threads, other programs.
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
        parts: By the sections' names, in the order in which they came; `OTHER` is outside all of them.
        n_passed: Samples that `FittedModel.sweep` passed through models, test samples among them.
        n_again: Of them, those that the same model had seen in this phase already.
    """

    name: str
    parts: dict[str, Part] = field(default_factory=dict)
    n_passed: int = 0
    n_again: int = 0


class _Here(threading.local):
    """The profile that is active in this thread; other threads' work shows as waiting."""

    profile: Profile | None = None


_here = _Here()


class section(ContextDecorator):  # noqa: N801 - reads as a statement
    """Charge a block, or the calls of a function, to a part of the active profile, if there is one.

    Args:
        name: Of the part, such as ``"outputs"``.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        if _here.profile is not None:
            _here.profile.enter(self._name)

    def __exit__(self, *exception: object) -> None:
        if _here.profile is not None:
            _here.profile.leave()


class Profile:
    """Collects where a run's time goes; `active` makes it the one that sections report to.

    Args:
        earlier: Seconds that are over already and belong to the first phase's part ``earlier_name``, with the main
            thread's share of computing in them.
        earlier_name: What they were spent on.
        clock: Seconds of wall time.
        computing: Seconds that this thread computed.

    Attributes:
        phases: The start, rounds and end of the run so far.
        is_resumed: Whether the run had rounds before.
        is_stopped: Whether it is over: nothing is charged to it any more.
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
        self._seen: WeakKeyDictionary[FittedModel, WeakKeyDictionary[Inputs, NDArray[np.bool_]]] = WeakKeyDictionary()
        self._device: Any = None
        self.is_stopped = False
        self._mark = clock(), computing()
        if earlier is not None:
            seconds, computed = earlier
            self.phases[0].parts[earlier_name] = Part(seconds, max(0.0, seconds - computed), 1)

    @classmethod
    def of_process(cls) -> Profile:
        """Return a profile that begins with the process, where the system tells when that was; else now."""
        age = _process_age()
        return cls(None if age is None else (age, time.thread_time()))

    @property
    def seconds(self) -> float:
        """Wall time of everything up to now that was charged."""
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
        """Charge the time until now, and none from then on."""
        if not self.is_stopped:
            self._charge()
            self.is_stopped = True

    def on(self, device: Any) -> None:
        """Wait for a CUDA device at the ends of sections, so that each is charged its own work there."""
        self._device = device if getattr(device, "type", "") == "cuda" else None

    def begin(self, phase: str) -> None:
        """Charge what follows to a new phase."""
        self._charge()
        self.phases.append(Phase(phase))
        self._seen.clear()

    def enter(self, name: str) -> None:
        """Open a section inside the one that is open."""
        self._charge()
        self._open.append(name)
        self._part(name).times += 1

    def leave(self) -> None:
        """Close the section opened last."""
        self._charge()
        if self._open:
            self._open.pop()

    def passed(self, model: FittedModel, inputs: Inputs, indices: NDArray[np.int64]) -> None:
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
        # While it waits for CUDA, a thread may turn in circles, which counts as computing.
        part.waiting += max(0.0, seconds - (computed - self._mark[1]) + waited)
        self._mark = clock, computed

    def _wait_for_device(self) -> float:
        """Return how long the thread computed nothing but kept turning until the device was done."""
        if self._device is None:
            return 0.0
        import torch

        before = self._computing()
        torch.cuda.synchronize(self._device)
        return self._computing() - before


def active_profile() -> Profile | None:
    """Return the profile that is active in this thread, if any."""
    return _here.profile


def count_passed(model: FittedModel, inputs: Inputs, indices: NDArray[np.int64]) -> None:
    """Tell the active profile, if there is one, of samples that pass through a model."""
    if _here.profile is not None:
        _here.profile.passed(model, inputs, indices)


def _process_age() -> float | None:
    """Return how many seconds ago this process was started; None where the system does not tell."""
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
