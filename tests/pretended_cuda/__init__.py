"""A pretended CUDA device for machines without a GPU: tensors that say ``cuda:0`` and compute on the CPU.

    with pretended_cuda() as devices:
        run("badge", data, device="cuda")
        print(devices.table())  # what waited for the device

In the block, in its thread,

- ``.to("cuda")``, ``.cuda()``, ``device="cuda"`` and ``x.new_*`` make `PretendedTensor`s, whose kernels are the CPU's;
- tensors of different devices in one call raise as on CUDA, as do ``.numpy()`` and ``pin_memory`` of a CUDA tensor, and
  generators of another device. As on CUDA, CPU numbers without dimensions may take part in elementwise operations,
  CPU indices may index CUDA tensors, and ``copy_`` and slice assignment may cross;
- each device has a default generator, from which dropout and initialization on it draw;
- ``torch.cuda`` answers; more than ``total_bytes`` raise `torch.OutOfMemoryError`, and an index out of range makes
  every later call fail, as a kernel's assert does;
- whatever makes Python wait for a real device is counted by line of code: reads (``.item()``, ``.tolist()``,
  ``.cpu()``), sizes that depend on values (``nonzero``, masks, ``unique``), checked decompositions, synchronization,
  and copies from pageable memory.

It cannot show CUDA's kernels (speed, rounding, order of atomic additions, what they lack, memory of their own), its
list of autocast operations, streams, asynchronous errors or `torch.compile`. A seed draws what it draws on the CPU.
Gradients do not cross devices; moved modules get new parameters.
"""

from __future__ import annotations

import os
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import MagicMock, patch

import torch

from tests.pretended_cuda.devices import Devices, active
from tests.pretended_cuda.tensors import PretendedGenerator, PretendedTensor, Rules

__all__ = ["Devices", "PretendedTensor", "pretended_cuda"]

_VISIBLE = "CUDA_VISIBLE_DEVICES"


@contextmanager
def pretended_cuda(
    number: int = 1, total_bytes: int = 8 << 30, sources: tuple[str, ...] = ("deepal_autoal/", "deepal_strategies/")
) -> Iterator[Devices]:
    """Pretend that there are CUDA devices inside the block, in this thread.

    Args:
        number: How many, of ``total_bytes`` each; no more than the variable ``CUDA_VISIBLE_DEVICES`` names.
        total_bytes: Memory of each.
        sources: Parts of file names whose lines are charged with what waits.
    """
    if _VISIBLE in os.environ:
        number = min(number, len([name for name in os.environ[_VISIBLE].split(",") if name]))
    devices = Devices(number, total_bytes, sources)
    devices.generators = tuple(PretendedGenerator(f"cuda:{index}") for index in range(number))
    autocast, overwrites = torch.amp.autocast_mode.autocast, torch.__future__.set_overwrite_module_params_on_conversion
    original, not_capturing = autocast.__init__, types.SimpleNamespace(is_capturing=lambda: False)

    def on_cpu(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        original(self, "cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    with ExitStack() as stack:
        for name, answer in _answers(devices).items():
            stack.enter_context(patch.object(torch.cuda, name, answer))
        if hasattr(torch, "accelerator"):  # optimizers ask
            stack.enter_context(patch.object(torch.accelerator, "current_stream", lambda _=None: not_capturing))
        stack.enter_context(patch.object(autocast, "__init__", on_cpu))
        stack.enter_context(patch.object(torch, "Generator", PretendedGenerator))
        stack.callback(overwrites, torch.__future__.get_overwrite_module_params_on_conversion())
        overwrites(True)
        stack.callback(active.__setitem__, 0, active[0])
        active[0] = devices
        stack.enter_context(Rules())
        yield devices


def _answers(devices: Devices) -> dict[str, Any]:
    """Return what stands for the functions of `torch.cuda`."""
    stream = MagicMock  # or an event: without effect

    def properties(device: Any = None) -> Any:
        devices.initialize("properties")
        return types.SimpleNamespace(name=devices.name, major=9, minor=0, total_memory=devices.total_bytes)

    def exchange(number: int) -> int:
        before, devices.current = devices.current, devices.current if number < 0 else devices.index(number)
        return before

    def reset_peak(device: Any = None) -> None:
        number = devices.index(device)
        if not devices.is_initialized:
            raise RuntimeError(f"Invalid device argument {number}: did you call init?")
        devices.peak[number] = devices.allocated[number]

    def current() -> int:
        devices.initialize("current_device")
        return devices.current

    def set_current(device: Any) -> None:
        devices.initialize("set_device")
        devices.current = devices.index(device)

    def generators() -> tuple[Any, ...]:
        devices.initialize("random state")
        return devices.generators

    def free(device: Any = None) -> tuple[int, int]:
        devices.initialize("mem_get_info")
        return devices.free_bytes(devices.index(device)), devices.total_bytes

    def empty_cache() -> None:
        devices.check()
        devices.reserved = list(devices.allocated)

    return {
        "is_available": lambda: devices.number > 0, "device_count": lambda: devices.number,
        "init": lambda: devices.initialize("init"), "_lazy_init": lambda: None,
        "is_initialized": lambda: devices.is_initialized, "current_device": current,
        "set_device": set_current, "_exchange_device": exchange,
        "_maybe_exchange_device": exchange, "synchronize": lambda device=None: devices.wait("synchronize", "explicit"),
        "mem_get_info": free, "memory_allocated": lambda device=None: devices.allocated[devices.index(device)],
        "memory_reserved": lambda device=None: devices.reserved[devices.index(device)],
        "max_memory_allocated": lambda device=None: devices.peak[devices.index(device)],
        "reset_peak_memory_stats": reset_peak, "empty_cache": empty_cache,
        "get_device_properties": properties, "get_device_name": lambda device=None: properties(device).name,
        "get_device_capability": lambda device=None: (properties(device).major, properties(device).minor),
        "is_bf16_supported": lambda including_emulation=True: not properties(),  # CPUs are slow at it
        "default_generators": devices.generators, "is_current_stream_capturing": lambda: False,
        "get_rng_state": lambda device="cuda": generators()[devices.index(device)].get_state(),
        "set_rng_state": lambda new, device="cuda": generators()[devices.index(device)].set_state(new) and None,
        "get_rng_state_all": lambda: [one.get_state() for one in generators()],
        "set_rng_state_all": lambda states: [
            one.set_state(new) for one, new in zip(generators(), states, strict=True)
        ] and None,
        "Stream": stream, "Event": stream, "current_stream": stream, "stream": stream,
    }  # fmt: skip
