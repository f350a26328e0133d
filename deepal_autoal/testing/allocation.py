"""Measure what a query itself uses: its largest tensor, all its tensors, the peak of numpy and Python, torch's work.

How it works: a `TorchDispatchMode` sees the result of every torch operation. It records the largest storage, keeps
weak references to storages to sum those that are alive, and adds up work with `work_of`. tracemalloc gives the peak of
numpy and Python. Both are paused while a view computes outputs.
"""

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
    """The resources that a piece of work used.

    Attributes:
        tensor_bytes: Bytes of the largest tensor that an operation of torch returned.
        tensor: Its shape and dtype.
        total_bytes: Peak bytes of tensors alive at one time; slightly less if there were many small ones.
        peak_bytes: Peak bytes that numpy and Python held, above what they held before.
        work: The work of torch operations, as counted by `work_of`.
        complete: Whether the work finished; otherwise it was stopped when its time was up.
    """

    tensor_bytes: int = 0
    tensor: str = "none"
    total_bytes: int = 0
    peak_bytes: int = 0
    work: int = 0
    complete: bool = True


class _TimeIsUpError(BaseException):
    """Stops the work from inside a torch operation; not an Exception, so ``except Exception`` does not catch it."""


def measure(work: Callable[[], Any], seconds: float) -> tuple[Usage, ViewCalls]:
    """Run the work once, and return what it used itself and its calls of views.

    What views compute on request is not counted, since all strategies share it.

    Args:
        work: The function to run.
        seconds: CPU time after which the work is stopped, at its next torch operation.
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

    Expired ones are removed only when enough new ones have been added, so a query of many small operations is not
    slowed down: the peak may be missed by `_GRAIN` bytes or a quarter.
    """

    _GRAIN = 1 << 20
    # Smaller storages, mostly single numbers, are not worth a reference.
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
            self.remove_expired()

    def remove_expired(self) -> None:
        self._storages = {key: entry for key, entry in self._storages.items() if not entry[0].expired()}  # type: ignore[no-untyped-call]
        self._total = sum(n_bytes for _, n_bytes in self._storages.values())
        self.peak = max(self.peak, self._total)
        self._next_total = self._total + max(self._GRAIN, self._total // 4)
        self._next_count = 2 * len(self._storages) + self._FEWEST


class _Tensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up work, and records the largest tensor by its storage: broadcast views count as what they occupy."""

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
        """Return False: the default, True, makes torch import its whole compiler."""
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
