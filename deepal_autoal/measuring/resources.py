"""Time and peak memory of a piece of work. `Stopwatch` is the one clock; `profile` adds names to it."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class Stopwatch:
    """Times a ``with`` block: ``seconds`` is its wall time.

    Args:
        device: Device whose work belongs to the block; both ends of the block wait for it.
    """

    seconds: float = 0.0

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device

    def __enter__(self) -> Stopwatch:
        wait_for(self._device)
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        wait_for(self._device)
        self.seconds = time.perf_counter() - self._start


def format_seconds(seconds: float) -> str:
    """Return a time in words, such as ``1 min 20 s``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = math.ceil(seconds - 0.5)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory_size() -> float:
    """Return the machine's memory in bytes; infinity if it is unknown."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def wait_for(device: torch.device | None) -> None:
    """Wait until a CUDA device has done the work queued so far; for any other device, do nothing."""
    if device is not None and device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


class PeakMemory:
    """Measures a ``with`` block's peak memory above what was in use before it.

    Attributes:
        n_bytes: The peak of the device: on CUDA by the allocator's own count, on the CPU ``process_bytes``.
        process_bytes: The peak of the process's resident memory; None where the system cannot reset its peak (it can
            on Linux).
        before: What was in use before, of the device.
    """

    n_bytes: int | None = None
    process_bytes: int | None = None
    before: int | None = None

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._resident: int | None = None

    def __enter__(self) -> PeakMemory:
        self.before = self._resident = _reset_peak()
        if self._device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)
            self.before = torch.cuda.memory_allocated(self._device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        peak = _resident("VmHWM")
        if peak is not None and self._resident is not None:
            self.n_bytes = self.process_bytes = max(0, peak - self._resident)
        if self._device.type == "cuda" and self.before is not None:
            import torch

            self.n_bytes = max(0, torch.cuda.max_memory_allocated(self._device) - self.before)


def _reset_peak() -> int | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        _CLEAR.write_text("5")
    except OSError:
        return None
    return _resident("VmRSS")


def resident_bytes() -> int | None:
    """Return the memory that this process uses; None where that cannot be measured."""
    return _resident("VmRSS")


def give_back_memory() -> None:
    """Return unused memory to the system where that is possible (glibc).

    Otherwise memory freed earlier is reused and does not show in a peak.
    """
    gc.collect()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _resident(field: str) -> int | None:
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
