"""Which device to compute on."""

from __future__ import annotations

import torch

from deepal_autoal.errors import InputError


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


def describe_gpu(device: torch.device) -> dict[str, str] | None:
    """Return a GPU's ``name`` and the versions of ``cuda`` and ``cudnn`` that compute on it; None without CUDA."""
    if device.type != "cuda":
        return None
    found = {"name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda, "cudnn": _cudnn_version()}
    return {key: str(value) for key, value in found.items() if value is not None}


def _cudnn_version() -> str | None:
    number = torch.backends.cudnn.version()  # 91002 is 9.10.2, 8902 is 8.9.2
    if number is None:
        return None
    major, rest = divmod(number, 10000) if number >= 90000 else divmod(number, 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def visible_gpus(name: str) -> int:
    """Return how many GPUs processes on the named device can be spread over; 0 if the name fixes the device."""
    return torch.cuda.device_count() if name in ("auto", "cuda") else 0


def device_elsewhere(name: str) -> torch.device:
    """Return the device that a name refers to on another machine, whatever this one has.

    Args:
        name: ``cpu``, ``cuda`` or ``mps``.
    """
    return torch.device("cuda", 0) if name == "cuda" else torch.device(name)
