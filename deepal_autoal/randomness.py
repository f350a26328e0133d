"""Random streams that depend on (seed, round, purpose) and never on the order of calls."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream_seed(*key: int | str) -> int:
    """Return a seed in [0, 2**63) that depends on every part of the key and on nothing else.

    Args:
        key: Non-negative integers and strings, such as ``(seed, round, "train")``.
    """
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else int(part) for part in key]
    state = np.random.SeedSequence(words).generate_state(2, np.uint32)
    return (int(state[0]) << 31) ^ int(state[1])


def numpy_stream(*key: int | str) -> np.random.Generator:
    """Return a numpy generator for the key (see `stream_seed`)."""
    return np.random.default_rng(stream_seed(*key))


def torch_stream(*key: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator on ``device`` for the key (see `stream_seed`)."""
    import torch

    return torch.Generator(device=device).manual_seed(stream_seed(*key))


@contextmanager
def global_torch_seed(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed torch's global generators inside the block and restore them after it.

    For initialisation and dropout, which torch draws from the global generator alone.
    """
    import torch

    device = torch.device(device)
    devices = []
    if device.type == "cuda":
        devices = [device.index if device.index is not None else torch.cuda.current_device()]
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
