"""Dropout masks and noise that depend only on a sample's pool index and the pass: a hash, not a random stream.

A sample's masks are the same whichever other samples are requested, in any order and on any device, and no mask is
computed unnecessarily.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from deepal_autoal.numerics.random_streams import stream_seed

if TYPE_CHECKING:
    from torch import Tensor

# One 64-bit hash decides four neighboring entries: 16 bits represent a share to within 1/65536.
_ENTRIES = 4
_VALUES = 1 << 16

# SplitMix64 (Steele, Lea & Flood 2014), constants as signed integers: torch's products wrap around the same way.
_STEP = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


def dropout_masks(indices: Tensor, width: int, keep: float, passes: range, key: tuple[int | str, ...]) -> Tensor:
    """Return which entries are kept.

    Args:
        indices: Pool indices, int64 (n,).
        width: Entries in a row, D.
        keep: Share to keep, in (0, 1]; to within 1/65536.
        passes: Numbers of the passes, T of them.
        key: Key of the random stream (see `stream_seed`).

    Returns:
        bool (T, n, D).
    """
    entries = _hashes(indices, -(-width // _ENTRIES), passes, key).view(torch.int16)
    limit = max(round(keep * _VALUES), 1) - _VALUES // 2  # as a signed number
    return (entries <= limit - 1)[..., :width]


def normal_noise(indices: Tensor, width: int, passes: range, key: tuple[int | str, ...]) -> Tensor:
    """Return independent standard normal numbers, float32 (T, n, D).

    Args:
        indices, width, passes, key: As in `dropout_masks`.
    """
    # The halves of a hash are two uniform numbers in (0, 1]; Box & Muller (1958) turn them into two normal ones.
    wide = torch.float32 if indices.device.type == "mps" else torch.float64  # mps has no float64
    uniform = _hashes(indices, -(-width // 2), passes, key).view(torch.int32).to(wide)
    uniform = uniform.add_(2.0**31 + 1).mul_(2.0**-32)
    uniform = uniform.view(*uniform.shape[:2], -1, 2)
    radius, angle = uniform[..., 0].log().mul_(-2).sqrt_(), uniform[..., 1] * (2 * math.pi)
    noise = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1).flatten(2)
    return noise[..., :width].to(torch.float32)


def _hashes(indices: Tensor, n_hashes: int, passes: range, key: tuple[int | str, ...]) -> Tensor:
    """Return hashes, int64 (T, n, n_hashes)."""
    seeds = torch.tensor([stream_seed(*key, number) for number in passes], device=indices.device)
    # Counters of all possible hashes, one step apart; each pass has its own offset.
    counters = (indices[:, None] * n_hashes + torch.arange(n_hashes, device=indices.device)) * _STEP
    return _mix(counters + seeds[:, None, None])


def _mix(values: Tensor) -> Tensor:
    """Apply SplitMix64's finalizer to int64 values in place: every input bit affects every output bit."""
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        values ^= _shifted(values, shift)
        values *= factor
    values ^= _shifted(values, 31)
    return values


def _shifted(values: Tensor, n_bits: int) -> Tensor:
    """Return values shifted right and filled with zeros; torch's shift of signed integers repeats the sign bit."""
    return (values >> n_bits) & ((1 << (64 - n_bits)) - 1)
