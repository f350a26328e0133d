"""Softmax over classes that is also fast when there are few of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

# On the CPU, torch's softmax takes as long for fewer classes as for this many.
_FEW_CLASSES = 16
# Numbers in a chunk, which should fit in a processor's cache.
_CHUNK_NUMBERS = 1 << 17


def softmax(logits: Tensor) -> Tensor:
    """Return class probabilities, (n, C), of logits (n, C)."""
    if not _is_narrow(logits):
        return logits.softmax(dim=1)
    result = torch.empty_like(logits)
    for source, target in _chunks(logits, result):
        torch.sub(source, source.amax(dim=1, keepdim=True), out=target)
        target.exp_().div_(target.sum(dim=1, keepdim=True))
    return result


def log_softmax(logits: Tensor) -> Tensor:
    """Return log class probabilities, (n, C), of logits (n, C); finite also where the probability underflows."""
    if not _is_narrow(logits):
        return logits.log_softmax(dim=1)
    result = torch.empty_like(logits)
    for source, target in _chunks(logits, result):
        torch.sub(source, source.amax(dim=1, keepdim=True), out=target)
        target.sub_(target.exp().sum(dim=1, keepdim=True).log_())
    return result


def _is_narrow(logits: Tensor) -> bool:
    return logits.device.type == "cpu" and logits.shape[1] < _FEW_CLASSES


def _chunks(source: Tensor, target: Tensor) -> zip[tuple[Tensor, Tensor]]:
    n_rows = max(1, _CHUNK_NUMBERS * torch.get_num_threads() // source.shape[1])
    return zip(torch.split(source, n_rows), torch.split(target, n_rows), strict=True)
