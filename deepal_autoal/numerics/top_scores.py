"""Choosing the highest scores, with ties broken at random but reproducibly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor


def top_scores(scores: Tensor, batch_size: int, generator: torch.Generator) -> Tensor:
    """Return the positions of the highest scores, highest first.

    Linear in n: only the chosen scores are sorted, and random numbers are drawn only for these and for scores that
    equal the lowest of them.

    Args:
        scores: Shape (n,), higher is better, no NaN; infinite scores are ranked like any other.
        batch_size: How many; at most n.
        generator: Breaks ties between equal scores, instead of their positions; it may be on any device.

    Returns:
        int64 tensor of shape (batch_size,) on the scores' device.
    """
    scores = scores.detach()
    if not batch_size:
        return torch.empty(0, dtype=torch.int64, device=scores.device)
    eligible = _as_high_as_the_last(scores, batch_size)
    eligible_scores = scores[eligible]
    is_last = eligible_scores == eligible_scores.amin()
    above, tied = eligible[~is_last], eligible[is_last]
    above = above[_permutation(len(above), generator, scores.device)]
    order = torch.argsort(scores[above], descending=True, stable=True)
    # Never empty: the lowest chosen score is always in `tied`, possibly alone.
    drawn = _permutation(len(tied), generator, scores.device)[: batch_size - len(above)]
    return torch.cat([above[order], tied[drawn]])


def _as_high_as_the_last(scores: Tensor, batch_size: int) -> Tensor:
    """Return the positions of all scores that are not below the batch_size-th highest, in ascending order."""
    if scores.device.type == "cuda":
        values = scores.byte() if scores.dtype == torch.bool else scores
        cut = values.topk(batch_size, sorted=False).values.amin()
        return (values >= cut).nonzero().squeeze(1)
    # numpy's selection time does not depend on the batch; torch's CPU topk is 15 times slower for 10,000 of 1M.
    halves = scores.dtype in (torch.float16, torch.bfloat16)
    table = (scores.float() if halves else scores).cpu().numpy()
    place = len(table) - batch_size
    rows = np.flatnonzero(table >= np.partition(table, place)[place])
    return torch.as_tensor(rows, dtype=torch.int64, device=scores.device)


def _permutation(n: int, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randperm(n, generator=generator, device=generator.device).to(device)
