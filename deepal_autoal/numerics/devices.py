"""Which device to compute on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from deepal_autoal.errors import DeepALError, InputError, error_message
from deepal_autoal.run_settings import GPU_SHARE


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """Return the device for a name: ``auto`` (CUDA if available), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        InputError: If there is no such device.
    """
    if isinstance(name, torch.device):
        return name
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"unknown device {name!r}: use auto, cpu, cuda or cuda:0") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            has = f"{count} CUDA devices" if count else "no CUDA device"
            raise InputError(f"device {name!r}: this machine has {has}; use --device auto or cpu")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("device 'mps' is not available here; use --device auto or cpu")
    if device.type not in ("cpu", "mps"):
        raise InputError(f"device {name!r} is not supported: use auto, cpu, cuda or cuda:0")
    return device


@contextmanager
def bounded_memory(doing: str, advice: str) -> Iterator[None]:
    """Turn a device's lack of memory inside the block into one line.

    Args:
        doing: What the block does, for the message.
        advice: What to make smaller.

    Raises:
        DeepALError: If the device's memory does not suffice.
    """
    reason = None
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = error_message(error).partition(". ")[0]
    if reason is not None:  # not inside the handler: the error's frames hold tensors
        raise DeepALError(f"the device is out of memory in {doing} ({reason.removesuffix('.')}); {advice}")


def residency_limit(device: torch.device) -> int:
    """Return how many bytes of samples may stay on a CUDA device: half of what is free, within this process's share.

    Processes that share a GPU say so by the environment variable `GPU_SHARE`.
    """
    free, total = torch.cuda.mem_get_info(device)
    own = float(os.environ.get(GPU_SHARE, 1)) * total - torch.cuda.memory_allocated(device)
    return max(0, int(min(free, own))) // 2


def without_waiting(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor on a device; a copy to CUDA goes through pinned memory, so Python need not wait for it."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def empty_gpu_cache() -> None:
    """Give memory that torch keeps for later back to the GPUs, for other processes; without CUDA, do nothing."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def has_failed() -> bool:
    """Return whether CUDA has failed in this process, so that nothing works on a GPU any more.

    After some errors, such as a device-side assert, every later call of the process raises the same error.
    """
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        for number in range(torch.cuda.device_count()):
            torch.cuda.synchronize(number)
    except RuntimeError:
        return True
    return False


def describe_gpu(device: torch.device) -> dict[str, str] | None:
    """Return a GPU's ``name`` and the versions of ``cuda`` and ``cudnn`` that compute on it; None without CUDA."""
    if device.type != "cuda":
        return None
    found = {"name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda, "cudnn": _cudnn_version()}
    return {key: str(value) for key, value in found.items() if value is not None}


def _cudnn_version() -> str | None:
    number = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]  # 91002 is 9.10.2, 8902 is 8.9.2
    if number is None:
        return None
    major, rest = divmod(number, 10000) if number >= 90000 else divmod(number, 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def is_on_cuda(name: str) -> bool:
    """Return whether a device's name, as in `resolve_device`, means a CUDA device here; creates no CUDA context."""
    return torch.cuda.is_available() if name == "auto" else name.partition(":")[0] == "cuda"


def visible_gpus(name: str) -> int:
    """Return how many GPUs processes on the named device can be spread over; 0 if the name fixes the device."""
    return torch.cuda.device_count() if name in ("auto", "cuda") else 0


def device_elsewhere(name: str) -> torch.device:
    """Return the device that a name refers to on another machine, whatever this one has.

    Args:
        name: ``cpu``, ``cuda`` or ``mps``.
    """
    return torch.device("cuda", 0) if name == "cuda" else torch.device(name)
