"""Random streams that depend on (seed, round, purpose) and never on the order of calls."""

from __future__ import annotations

import hashlib
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
    text = repr([part if isinstance(part, str) else int(part) for part in key])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


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

    For initialization and dropout, which torch draws only from the global generator.
    """
    import torch

    device = torch.device(device)
    # Not torch.manual_seed: it would also seed the generators of other devices, which are not restored.
    generators = [torch.default_generator]
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]
        index = device.index if device.index is not None else torch.cuda.current_device()
        generators.append(torch.cuda.default_generators[index])
    elif device.type == "mps":
        generators.append(torch.mps._get_default_mps_generator())
    states = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
