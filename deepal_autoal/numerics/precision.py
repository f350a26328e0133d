"""The device, number format and memory format in which a module computes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from deepal_autoal.errors import InputError

M = TypeVar("M", bound=nn.Module)


# Images with fewer pixels a side gain little from bfloat16 on a CPU, and float32 is the simpler choice.
SMALLEST_SIDE = 16


def resolve_precision(precision: str, device: torch.device, input_shape: tuple[int, ...] = ()) -> str:
    """Return ``float32`` or ``bfloat16``.

    ``auto`` is bfloat16 on a CUDA device that computes in it, and on a CPU with instructions for it where the inputs
    are images of at least 16 pixels a side; else float32. The choice depends on the hardware, not on a timing, so it
    is always the same on one machine.

    Args:
        precision: ``auto``, ``float32`` or ``bfloat16``.
        device: Where models compute.
        input_shape: (C, H, W) or (D,) of one input.

    Raises:
        InputError: If bfloat16 is requested on a CUDA device that does not compute in it.
    """
    if precision == "float32":
        return precision
    if device.type == "cuda":
        with torch.cuda.device(device):
            supported = torch.cuda.is_bf16_supported(including_emulation=False)
        if precision == "bfloat16" and not supported:
            raise InputError(f"{torch.cuda.get_device_name(device)} does not compute in bfloat16; use float32")
        return "bfloat16" if supported else "float32"
    if precision == "bfloat16":
        return precision
    pays = len(input_shape) == 3 and min(input_shape[1:]) >= SMALLEST_SIDE
    return "bfloat16" if device.type == "cpu" and pays and cpu_has_bfloat16() else "float32"


def cpu_has_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 matrices in hardware; emulation is slower than float32."""
    # torch has only private names for these checks; if a version lacks them, we do without bfloat16.
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check is not None and check() for check in checks)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which modules compute in a resolved precision.

    It does not cache casts of weights: torch drops them only when the outermost autocast context ends, so inside
    another one (`clean_autograd_state` is one, a caller's may be) every step would use the first step's weights.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False)


@contextmanager
def exact_gradients(module: nn.Module, precision: str, device: torch.device) -> Iterator[None]:
    """Inside the block, convolutions whose input is smaller than their stride compute in float32 on a CPU.

    In bfloat16, oneDNN leaves parts of such a convolution's weight gradient unwritten: leftover memory, including NaN,
    becomes a gradient. This happens with networks built for larger images (MobileNetV3 at 16 x 16 pixels).
    """
    strided = [part for part in module.modules() if isinstance(part, nn.Conv2d) and max(part.stride) > 1]
    if precision != "bfloat16" or device.type != "cpu":
        strided = []
    for part in strided:
        part.forward = partial(_convolve, part)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for part in strided:
            del part.forward


def _convolve(part: nn.Conv2d, inputs: Tensor) -> Tensor:
    if all(side >= stride for side, stride in zip(inputs.shape[-2:], part.stride, strict=True)):
        return type(part).forward(part, inputs)
    with torch.autocast("cpu", enabled=False):
        return type(part).forward(part, inputs.float())


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Inside the block, a CUDA device computes with deterministic kernels wherever torch has them.

    Where it has none, torch warns, once for each place. On other devices nothing changes: a CPU's kernels are
    deterministic for a given number of threads.
    """
    if device.type != "cuda":
        yield
        return
    # Read when cuBLAS starts; without it, sums of its streams differ from time to time.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    fills = settings.fill_uninitialized_memory
    with warnings.catch_warnings():
        # Where warnings are errors, a missing kernel would stop the run.
        warnings.filterwarnings("default", message=".*deterministic", category=UserWarning)
        torch.use_deterministic_algorithms(True, warn_only=True)
        settings.fill_uninitialized_memory = False  # costs a pass over all new memory
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was[0], warn_only=was[1])
            settings.fill_uninitialized_memory = fills


@contextmanager
def clean_autograd_state(device: torch.device) -> Iterator[None]:
    """Turn off the caller's autocast, inference and no-grad modes inside the block: other code uses its results."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        yield


def place(module: M, device: torch.device) -> M:
    """Move a module to a device, with convolutions channels last: tensor cores and CPUs read this format fastest."""
    module = module.to(device)
    if device.type in ("cpu", "cuda"):
        module = module.to(memory_format=torch.channels_last)
    return module
