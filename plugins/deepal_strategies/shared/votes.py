"""Votes of a selector's candidates on every sample: whether the candidate would query it, and a soft rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepal_strategies.shared.ranks import mid_ranks

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext, SelectorStrategy


@dataclass(frozen=True)
class Votes:
    """Votes of K candidates on n samples.

    Attributes:
        picks: Whether the candidate queries the sample, float32 (K, n) of 0 and 1, with equally many 1 in each row.
        ranks: The candidate's rank of the sample, float32 (K, n) in [0, 1], 1 = most informative, mean 1/2.
    """

    picks: Tensor
    ranks: Tensor


def collect_votes(selector: SelectorStrategy, context: QueryContext, n_selected: int) -> Votes:
    """Query every candidate of a selector once.

    A candidate that scores gives its whole ranking. Of any other only the batch is known, so its picks share
    the mean of the highest ranks, and all other samples the mean of the rest.

    Args:
        selector: Its candidates vote, in the order of ``selector.candidates``.
        context: Each candidate gets it with random streams of its own.
        n_selected: Number of samples that each candidate picks, 1 ... n.

    Raises:
        DeepALError: If a candidate fails or returns an invalid answer; the message names the candidate.
    """
    picks, ranks = [], []
    for name in selector.candidates:
        picked, ranked = _vote(selector, name, context, n_selected)
        picks.append(picked)
        ranks.append(ranked)
    return Votes(torch.stack(picks), torch.stack(ranks))


def _vote(selector: SelectorStrategy, name: str, context: QueryContext, n_selected: int) -> tuple[Tensor, Tensor]:
    answer = selector.consult_candidate(name, context, n_selected)
    picked = torch.as_tensor(np.isin(context.candidates.indices, answer.indices), device=context.device).float()
    return picked, mid_ranks(picked if answer.scores is None else answer.scores)
