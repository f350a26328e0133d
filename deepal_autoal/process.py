"""State that all code of a process shares and that numbers depend on: read, compared, put back."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch


def _cuda_generators() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]


def _set_cudnn(flags: Mapping[str, bool]) -> None:
    for name, value in flags.items():
        setattr(torch.backends.cudnn, name, value)


# What it is called, how to read it, how to set it.
SharedState = tuple[str, Callable[[], Any], Callable[[Any], Any]]
NUMERIC: tuple[SharedState, ...] = (
    ("random's global generator", random.getstate, random.setstate),
    ("numpy's global generator", lambda: np.random.get_state(), np.random.set_state),
    ("torch's global generator", torch.get_rng_state, torch.set_rng_state),
    ("torch's CUDA generators", _cuda_generators, torch.cuda.set_rng_state_all),
    ("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    ("torch's default device", torch.get_default_device, torch.set_default_device),
    ("torch's grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    ("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    (
        "torch's deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    (
        "torch's cuDNN flags",
        lambda: {name: getattr(torch.backends.cudnn, name) for name in ("enabled", "deterministic", "benchmark")},
        _set_cudnn,
    ),
    ("torch's float32 matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
)


def process_state(shared: Sequence[SharedState] = NUMERIC) -> dict[str, Any]:
    """Return the shared state, by what it is called."""
    return {name: get() for name, get, _ in shared}


def restore_process(state: Mapping[str, Any], shared: Sequence[SharedState] = NUMERIC) -> list[str]:
    """Put the process back to a `process_state`, and return what was different."""
    different = [name for name in changed(state, process_state(shared)) if state[name] != []]  # CUDA was not in use
    for name, _, put in shared:
        if name in different:
            put(state[name])
    return different


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the keys whose values differ, also those that only one of the two has."""
    return [key for key in {**before, **after} if not _same(before.get(key), after.get(key))]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)
