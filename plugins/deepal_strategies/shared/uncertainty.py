"""Uncertainty of class probabilities: of one prediction, and of several passes or ensemble members."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from deepal_strategies.shared.row_blocks import SCORES, by_rows

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import PoolView

# Below this many classes, vector instructions go across samples.
_FEW_CLASSES = 32


def score_passes(score: Callable[[Tensor], Tensor], view: PoolView, n_passes: int) -> Tensor:
    """Return a score of every sample of a view, (n,), from its dropout passes, some samples at a time.

    Args:
        score: Returns scores (m,) of passes (T, m, C); a sample's score may depend only on its own passes.
        view: The samples.
        n_passes: T.
    """
    scores, start = torch.empty(0), 0  # preallocated below, as in `by_rows`
    for passes in view.mc_batches(n_passes):
        if not start:
            scores = passes.new_empty(len(view))
        end = start + passes.shape[1]
        scores[start:end] = score(passes)
        start = end
    return scores


def entropy(log_probabilities: Tensor) -> Tensor:
    """Return the entropy -Σ_c p_c log p_c in nats, (n,) in [0, log C], of log-probabilities (n, C)."""

    def score(part: Tensor) -> Tensor:
        # 0·log 0 is 0: an impossible class adds nothing, even if its logarithm is -inf. NaN stays NaN.
        finite = part.clamp(min=torch.finfo(part.dtype).min)
        return part.exp().mul_(finite).sum(dim=1).neg_()

    return by_rows(score, log_probabilities, SCORES)


def entropy_of_probabilities(probabilities: Tensor) -> Tensor:
    """Return what `entropy` does, (n,), of probabilities (n, C)."""
    # As above; probabilities between 0 and the clamp add less than rounding.
    finite = probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log_()
    return finite.mul_(probabilities).sum(dim=1).neg_()


def negative_margin(log_probabilities: Tensor) -> Tensor:
    """Return p_(2) - p_(1) of the two most probable classes, (n,) in [-1, 0], of log-probabilities (n, C)."""

    def score(part: Tensor) -> Tensor:
        best, lead = _best_and_lead(part)
        # p_(1)·(p_(2)/p_(1) - 1)
        return best.exp_().mul_(lead.neg_().expm1_())

    return by_rows(score, log_probabilities, SCORES)


def negative_margin_of_probabilities(probabilities: Tensor) -> Tensor:
    """Return what `negative_margin` does, (n,), of probabilities (n, C)."""
    return _best_and_lead(probabilities)[1].neg_()


def least_confidence(log_probabilities: Tensor) -> Tensor:
    """Return -max_c p_c, (n,) in [-1, -1/C], of log-probabilities (n, C)."""
    return log_probabilities.amax(dim=1).exp_().neg_()


def _best_and_lead(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the greatest value of each row, and its lead over the second greatest, (n,) each.

    `topk` takes ten times as long on the CPU. Only signs are summed, so a row's result does not depend on its
    position.
    """
    if values.device.type == "cpu" and values.shape[1] < _FEW_CLASSES:
        first, *others = values.T.contiguous()
        second = torch.full_like(first, -torch.inf)
        for one in others:
            second = torch.maximum(second, torch.minimum(first, one))
            first = torch.maximum(first, one)
        return first, first - second
    best = values.amax(dim=1, keepdim=True)
    behind = best - values
    # As NaN has the sign 0, a row with NaN counts as a tie; its greatest value is NaN anyway.
    n_behind = behind.sign().sum(dim=1)
    lead = torch.threshold_(behind, 0.0, torch.inf).amin(dim=1)
    lead = lead.where(n_behind == values.shape[1] - 1, best[:, 0] - best[:, 0])
    return best.squeeze(1), lead


def mean_of_passes(passes: Tensor) -> Tensor:
    """Return the mean over the first dimension, (...), of non-negative (T, ...).

    Differences from the first pass are added one by one: no temporary is larger than a pass, and where all passes are
    equal the mean is exactly that value, so spread and information are exactly 0.
    """
    first = passes[0]
    beyond_first = torch.zeros_like(first)
    for one in passes[1:]:
        beyond_first += one - first
    return first + beyond_first / len(passes)


def variation_ratio(passes: Tensor) -> Tensor:
    """Return the share of votes that are not for the modal class: 1 - (votes for it) / T (Freeman 1965).

    Each pass votes for its most probable class, and for the first of them where classes tie. That order of classes
    is the same for all samples, so no sample is preferred for its position.

    Args:
        passes: Class probabilities of dropout passes or ensemble members, (T, n, C).

    Returns:
        Shape (n,), in [0, 1), multiples of 1/T: exactly 0 where all passes agree, NaN where a probability is NaN.
    """

    def score(part: Tensor) -> Tensor:
        votes = torch.zeros_like(part[0])
        for one in part:
            best, voted = one.max(dim=1, keepdim=True)
            # NaN wins every maximum, but must not count as a vote.
            votes.scatter_add_(1, voted, best.where(best.isnan(), 1.0))
        return 1.0 - votes.amax(dim=1) / len(part)

    return by_rows(score, passes, SCORES)
