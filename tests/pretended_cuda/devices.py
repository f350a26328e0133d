"""What the pretended devices have: memory, generators, a count of what waits, and whether they have failed."""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from typing import Any

import torch

FAILED = "CUDA error: device-side assert triggered"
# An error of CUDA; torch before 2.8 has no class for it.
DeviceError: type[Exception] = getattr(torch, "AcceleratorError", RuntimeError)


class Devices:
    """The devices of one block of `pretended_cuda`.

    Attributes:
        number: How many there are.
        total_bytes: Memory of each.
        bytes_of_others: Memory of each that other processes use; a test may set it.
        name: Name of their model; a test may set it.
        initialized_by: What first needed a CUDA context in this process, with its line of code; empty without one.
        has_failed: Whether a kernel has failed: from then on, nothing of this process works on the devices.
        current: The current device.
        allocated: Bytes of living tensors, by device.
        reserved: Bytes that the allocator keeps, by device: the peak since its cache was last emptied.
        peak: Peak of ``allocated`` since the statistics were reset, by device.
        waits: How often Python waited for a device, by kind and line of code.
    """

    def __init__(self, number: int, total_bytes: int, sources: tuple[str, ...]) -> None:
        self.number = number
        self.total_bytes = total_bytes
        self.bytes_of_others = 0
        self.name = "Pretended GPU"
        self.initialized_by = ""
        self.has_failed = False
        self.current = 0
        self.allocated, self.reserved, self.peak = ([0] * number for _ in range(3))
        self.waits: Counter[tuple[str, str]] = Counter()
        self.generators: tuple[Any, ...] = ()
        self._sources = sources
        self._storages: dict[tuple[int, int], list[int]] = {}
        self._references: dict[int, Any] = {}

    def index(self, device: Any = None) -> int:
        """Return the number of a device in any form that `torch.cuda` takes."""
        of = device if device is None or isinstance(device, int) else torch.device(device).index
        number = self.current if of is None else of
        if not 0 <= number < self.number:
            raise DeviceError("CUDA error: invalid device ordinal")
        return int(number)

    def check(self) -> None:
        """Raise if the devices have failed."""
        if self.has_failed:
            raise DeviceError(FAILED)

    def fail(self) -> None:
        """Fail as after a device-side assert, and raise its error."""
        self.has_failed = True
        self.check()

    @property
    def is_initialized(self) -> bool:
        """Whether this process has created its CUDA context."""
        return bool(self.initialized_by)

    def initialize(self, what: str) -> None:
        """Create this process's context, which something needs, unless there is one."""
        self.check()
        self.initialized_by = self.initialized_by or f"{what} in {self._line()}"

    def wait(self, kind: str, what: str) -> None:
        """Count something that waits for a device, for the innermost line of the code of interest."""
        self.initialize(kind)
        self.waits[f"{kind} ({what})", self._line()] += 1

    def _line(self) -> str:
        """Return the innermost line of the code of interest."""
        frame: Any = sys._getframe(1)
        while frame is not None and not any(part in frame.f_code.co_filename for part in self._sources):
            frame = frame.f_back
        if frame is None:
            return "elsewhere"
        file = "/".join(frame.f_code.co_filename.split("/")[-3:])
        return f"{file}:{frame.f_lineno} {frame.f_code.co_name}"

    def waits_in(self, *parts: str) -> dict[tuple[str, str], int]:
        """Return the counts of the lines that contain one of the parts; of all lines without parts."""
        return {key: n for key, n in self.waits.items() if not parts or any(part in key[1] for part in parts)}

    def table(self, n: int = 40) -> str:
        """Return the highest counts, one a line."""
        return "\n".join(f"{n:7d}  {kind:28s} {where}" for (kind, where), n in self.waits.most_common(n))

    def own(self, tensor: Any) -> None:
        """Count a tensor's memory until it is gone."""
        if not self.number:  # it has outlived its block
            return
        storage, number = torch.Tensor.untyped_storage(tensor), tensor.device.index
        key, n_bytes = (number, storage.data_ptr()), storage.nbytes()
        self.initialize("a tensor")
        if key not in self._storages:
            if self.allocated[number] + n_bytes > self.total_bytes - self.bytes_of_others:
                raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {n_bytes} bytes.")
            self._storages[key] = [0, n_bytes]
            self.allocated[number] += n_bytes
            self.peak[number] = max(self.peak[number], self.allocated[number])
            self.reserved[number] = max(self.reserved[number], self.allocated[number])
        self._storages[key][0] += 1

        def release(gone: Any) -> None:
            del self._references[id(gone)]
            self._storages[key][0] -= 1
            if not self._storages[key][0]:
                self.allocated[number] -= self._storages.pop(key)[1]

        reference = weakref.ref(tensor, release)
        self._references[id(reference)] = reference

    def free_bytes(self, number: int) -> int:
        """Return what the driver calls free: not what this process's allocator keeps."""
        self.check()
        return self.total_bytes - self.bytes_of_others - self.reserved[number]


active = [Devices(0, 0, ())]  # the open block's devices, alone
