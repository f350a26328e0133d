"""What a query takes for itself: its largest tensor, all its tensors, numpy's and Python's peak, and torch's work."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from deepal_autoal.testing.observation import ViewCalls
from deepal_autoal.testing.work import work_of


@dataclass
class Usage:
    """What a piece of work took.

    Attributes:
        tensor_bytes: Bytes of the largest tensor that an operation of torch returned.
        tensor: Its shape and type.
        total_bytes: Most bytes of tensors that were alive at one time, a little less if many small ones were.
        peak_bytes: Most bytes that numpy and Python held at one time, above what they held before.
        work: What operations of torch did, as `work_of` counts it.
        complete: Whether the work came to its end; else it was stopped when its time was up.
    """

    tensor_bytes: int = 0
    tensor: str = "none"
    total_bytes: int = 0
    peak_bytes: int = 0
    work: int = 0
    complete: bool = True


class _TimeIsUpError(BaseException):
    """Ends the work from inside an operation of torch; nobody's ``except Exception`` catches it."""


def measure(work: Callable[[], Any], seconds: float) -> tuple[Usage, ViewCalls]:
    """Do the work once, and return what it took itself, and its calls of views.

    What views compute on request is not counted: all strategies share it.

    Args:
        work: What to do.
        seconds: Processor time after which the work is stopped, at its next operation of torch.
    """
    tensors = _Tensors(time.process_time() + seconds)
    complete = True
    with _traced() as peak:
        calls = ViewCalls()

        def enter() -> None:
            tensors.paused = True
            peak.note()

        def leave() -> None:
            tensors.paused = False
            tracemalloc.reset_peak()

        calls.on_enter, calls.on_exit = enter, leave
        try:
            with calls.record(), tensors:
                work()
        except _TimeIsUpError:
            complete = False
        peak.note()
    usage = Usage(tensors.n_bytes, tensors.described, tensors.living.peak, peak.n_bytes, tensors.work, complete)
    return usage, calls


class _Living:
    """Adds up storages that are alive.

    Whether they still are is looked at only when enough new ones have come, so that a query of many small operations
    takes no longer: the peak may be missed by `_GRAIN` bytes or a quarter.
    """

    _GRAIN = 1 << 20
    # Smaller ones, single numbers mostly, are not worth a reference.
    _SMALLEST = 1 << 10
    _FEWEST = 2000

    def __init__(self) -> None:
        self.peak = 0
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}
        self._total = 0
        self._next_total, self._next_count = self._GRAIN, self._FEWEST

    def add(self, storage: torch.UntypedStorage) -> None:
        n_bytes = storage.nbytes()
        # A reference keeps the address from being used again.
        if n_bytes < self._SMALLEST or storage._cdata in self._storages:
            return
        self._storages[storage._cdata] = StorageWeakRef(storage), n_bytes  # type: ignore[no-untyped-call]
        self._total += n_bytes
        if self._total > self._next_total or len(self._storages) > self._next_count:
            self.look()

    def look(self) -> None:
        self._storages = {key: entry for key, entry in self._storages.items() if not entry[0].expired()}  # type: ignore[no-untyped-call]
        self._total = sum(n_bytes for _, n_bytes in self._storages.values())
        self.peak = max(self.peak, self._total)
        self._next_total = self._total + max(self._GRAIN, self._total // 4)
        self._next_count = 2 * len(self._storages) + self._FEWEST


class _Tensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up work, and remembers the largest tensor by its storage: broadcast views count as what they take."""

    def __init__(self, deadline: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.n_bytes = 0
        self.described = "none"
        self.work = 0
        self.paused = False
        self.living = _Living()
        self._deadline = deadline

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch's default, True, makes it import its whole compiler."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self.paused:
            if time.process_time() > self._deadline:
                raise _TimeIsUpError
            self.work += work_of(func, args, kwargs or {}, result)
            for part in result if isinstance(result, tuple | list) else (result,):
                if not isinstance(part, torch.Tensor):
                    continue
                storage = part.untyped_storage()
                self.living.add(storage)
                if storage.nbytes() > self.n_bytes:
                    self.n_bytes = storage.nbytes()
                    self.described = f"{tuple(part.shape)} {str(part.dtype).removeprefix('torch.')}"
        return result


class _Peak:
    def __init__(self) -> None:
        self._before = tracemalloc.get_traced_memory()[0]
        self.n_bytes = 0

    def note(self) -> None:
        self.n_bytes = max(self.n_bytes, tracemalloc.get_traced_memory()[1] - self._before)


@contextmanager
def _traced() -> Iterator[_Peak]:
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start(1)
    tracemalloc.reset_peak()
    try:
        yield _Peak()
    finally:
        if not was_tracing:
            tracemalloc.stop()
