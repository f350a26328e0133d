"""Where, and in which number and memory format, a module computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from deepal_autoal.errors import InputError

M = TypeVar("M", bound=nn.Module)

PRECISIONS = ("auto", "float32", "bfloat16")


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return ``float32`` or ``bfloat16``: ``auto`` is bfloat16 on a CUDA device that computes in it, else float32.

    Raises:
        InputError: If bfloat16 is asked for on a CUDA device that does not.
    """
    if precision == "float32":
        return precision
    if device.type == "cuda":
        with torch.cuda.device(device):
            supported = torch.cuda.is_bf16_supported(including_emulation=False)
        if precision == "bfloat16" and not supported:
            raise InputError(f"{torch.cuda.get_device_name(device)} does not compute in bfloat16; use float32")
        return "bfloat16" if supported else "float32"
    return "float32" if precision == "auto" else precision


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which modules compute in a resolved precision."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def own_modes(device: torch.device) -> Iterator[None]:
    """Leave the caller's autocast, inference and no-grad modes inside the block: what it makes, others share."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        yield


def place(module: M, device: torch.device) -> M:
    """Move a module to a device, on CUDA with its convolutions channels last, as tensor cores read them."""
    module = module.to(device)
    if device.type == "cuda":
        module = module.to(memory_format=torch.channels_last)
    return module
