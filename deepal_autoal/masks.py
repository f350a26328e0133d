"""Dropout masks and noise that depend on a sample's pool index and the pass alone: a hash, not a random stream.

Whoever asks for which samples, together with whom and in what order, on whatever device, a sample's masks are the same,
and none are drawn in vain.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from deepal_autoal.randomness import stream_seed

if TYPE_CHECKING:
    from torch import Tensor

# One hash of 64 bits decides four neighbouring entries: 16 bits hold a share to within 1/65536.
_ENTRIES = 4
_VALUES = 1 << 16

# SplitMix64 (Steele, Lea & Flood 2014), its constants as signed integers: torch's products wrap around alike.
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
        key: Names the random stream (see `stream_seed`).

    Returns:
        bool (T, n, D).
    """
    entries = _hashes(indices, -(-width // _ENTRIES), passes, key).view(torch.int16)
    limit = max(round(keep * _VALUES), 1) - _VALUES // 2  # of signed numbers
    return (entries <= limit - 1)[..., :width]


def normal_noise(indices: Tensor, width: int, passes: range, key: tuple[int | str, ...]) -> Tensor:
    """Return independent standard normal numbers, float32 (T, n, D).

    Args:
        indices, width, passes, key: As in `dropout_masks`.
    """
    # Two halves of a hash are two uniform numbers, in (0, 1]; Box & Muller (1958) make two normal ones of them.
    wide = torch.float32 if indices.device.type == "mps" else torch.float64  # which mps lacks
    uniform = _hashes(indices, -(-width // 2), passes, key).view(torch.int32).to(wide)
    uniform = uniform.add_(2.0**31 + 1).mul_(2.0**-32)
    uniform = uniform.view(*uniform.shape[:2], -1, 2)
    radius, angle = uniform[..., 0].log().mul_(-2).sqrt_(), uniform[..., 1] * (2 * math.pi)
    noise = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1).flatten(2)
    return noise[..., :width].to(torch.float32)


def _hashes(indices: Tensor, n_hashes: int, passes: range, key: tuple[int | str, ...]) -> Tensor:
    """Return hashes, int64 (T, n, n_hashes)."""
    seeds = torch.tensor([stream_seed(*key, number) for number in passes], device=indices.device)
    # Counters of all hashes there are, one step apart; each pass starts elsewhere.
    counters = (indices[:, None] * n_hashes + torch.arange(n_hashes, device=indices.device)) * _STEP
    return _mix(counters + seeds[:, None, None])


def _mix(values: Tensor) -> Tensor:
    """Return SplitMix64's finalizer of int64 values, in place: every bit in decides about every bit out."""
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        values ^= _shifted(values, shift)
        values *= factor
    values ^= _shifted(values, 31)
    return values


def _shifted(values: Tensor, n_bits: int) -> Tensor:
    """Return values shifted to the right with zeros moving in, which torch's shift of signed integers does not do."""
    return (values >> n_bits) & ((1 << (64 - n_bits)) - 1)
