"""How uncertain class probabilities are: of one prediction, and of several passes or ensemble members."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def entropy(log_probabilities: Tensor) -> Tensor:
    """Return the entropy -Σ_c p_c log p_c in nats, (n,) in [0, log C], of log-probabilities (n, C)."""
    probabilities = log_probabilities.exp()
    # 0·log 0 is 0: an impossible class adds nothing, even where its logarithm is -inf. NaN stays NaN.
    return -(probabilities * log_probabilities).where(probabilities != 0, 0.0).sum(dim=1)


def negative_margin(log_probabilities: Tensor) -> Tensor:
    """Return p_(2) - p_(1) of the two most probable classes, (n,) in [-1, 0], of log-probabilities (n, C)."""
    best_two = log_probabilities.topk(2, dim=1).values.exp()
    return best_two[:, 1] - best_two[:, 0]


def least_confidence(log_probabilities: Tensor) -> Tensor:
    """Return -max_c p_c, (n,) in [-1, -1/C], of log-probabilities (n, C)."""
    return -log_probabilities.amax(dim=1).exp()


def mean_of_passes(passes: Tensor) -> Tensor:
    """Return the mean over the first dimension, (...), of non-negative (T, ...).

    Taken pass by pass, from the first one: no temporary is larger than a pass, and where all passes are equal the
    mean is exactly that value, so that agreement shows as no spread and no information at all.
    """
    first = passes[0]
    beyond_first = torch.zeros_like(first)
    for one in passes[1:]:
        beyond_first += one - first
    return first + beyond_first / len(passes)


def variation_ratio(passes: Tensor) -> Tensor:
    """Return the share of votes that are not for the modal class: 1 - (votes for it) / T (Freeman 1965).

    Each pass votes for its most probable class. Where classes tie in a pass, it votes for the first of them; that
    is an order of classes, alike for all samples, and does not prefer a sample for its position.

    Args:
        passes: Class probabilities of dropout passes or ensemble members, (T, n, C).

    Returns:
        Shape (n,), in [0, 1), multiples of 1/T: exactly 0 where all agree, NaN where a probability is NaN.
    """
    votes = torch.zeros_like(passes[0])
    for one in passes:
        best, voted = one.max(dim=1, keepdim=True)
        # NaN wins every maximum; it must not pass for a vote.
        votes.scatter_add_(1, voted, best.where(best.isnan(), 1.0))
    return 1.0 - votes.amax(dim=1) / len(passes)
