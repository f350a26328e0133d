"""Softmax over classes that is also fast when there are few of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from deepal_autoal.numerics.row_blocks import SOFTMAX

if TYPE_CHECKING:
    from torch import Tensor

# On the CPU, torch's softmax takes as long for fewer classes as for this many.
_FEW_CLASSES = 16


def softmax(logits: Tensor) -> Tensor:
    """Return class probabilities, (n, C), of logits (n, C)."""
    if not _is_narrow(logits):
        return logits.softmax(dim=1)
    result = torch.empty_like(logits)
    for source, target in _blocks(logits, result):
        torch.sub(source, source.amax(dim=1, keepdim=True), out=target)
        target.exp_().div_(target.sum(dim=1, keepdim=True))
    return result


def log_softmax(logits: Tensor) -> Tensor:
    """Return log class probabilities, (n, C), of logits (n, C); finite also where the probability underflows."""
    if not _is_narrow(logits):
        return logits.log_softmax(dim=1)
    result = torch.empty_like(logits)
    for source, target in _blocks(logits, result):
        torch.sub(source, source.amax(dim=1, keepdim=True), out=target)
        target.sub_(target.exp().sum(dim=1, keepdim=True).log_())
    return result


def _is_narrow(logits: Tensor) -> bool:
    return logits.device.type == "cpu" and logits.shape[1] < _FEW_CLASSES


def _blocks(source: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return ((source[rows], target[rows]) for rows in SOFTMAX.blocks(len(source), source.shape[1]))
