"""Scores of the pool by trained SearchNets: S̄ of every sample that can be selected, and the candidates' weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from deepal_autoal import DeepALError

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_strategies.autoal.networks import OwnSearchNet, SearchNet

Fetch = Callable[["Tensor"], "Tensor"]


@dataclass(frozen=True)
class Judge:
    """A SearchNet with the samples that it scores.

    Attributes:
        net: Maps samples to W and Θ.
        pool: Returns the samples of given rows of the candidates; None if the net sees the candidates' scores.
        labeled: Returns the samples of given rows of the labeled set.
        chunk: Number of samples to pass at once.
    """

    net: SearchNet | OwnSearchNet
    pool: Fetch | None
    labeled: Fetch
    chunk: int

    def log_trust(self, samples: Tensor) -> Tensor:
        """Return log(W·sigmoid(Θ)), (n, K): logarithms do not underflow even if the search lowers all trust."""
        log_weights, mixing_logits, _ = self.net(samples)
        trust: Tensor = log_weights + F.logsigmoid(mixing_logits)
        return trust

    def log_scale(self, n_labeled: int, device: torch.device) -> Tensor:
        """Return the logarithm of the mean, over the labeled samples, of a sample's sum of trusts."""
        rows = torch.split(torch.arange(n_labeled, device=device), self.chunk)
        totals = [self.log_trust(self.labeled(part)).flatten() for part in rows]
        return torch.cat(totals).logsumexp(dim=0) - math.log(n_labeled)


@torch.no_grad()
def score_pool(
    judges: Sequence[Judge],
    scores: Tensor,
    threshold: float,
    prior: Tensor,
    share: float,
    n_labeled: int,
    width: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return S̄ of the candidates, and the weight of each strategy.

    S̄(x) = Σ_κ a_κ(x)·(S_κ(x) - ϑ) with the trust a_κ = (1 - s)·W_κ·sigmoid(Θ_κ)/c + s·p_κ: equations (5) and (6),
    whose scale c (the mean of Σ_κ W_κ·sigmoid(Θ_κ) over the labeled samples) does not change the order, shrunk by the
    share s toward weights p common to all samples. With several judges W·sigmoid(Θ)/c is their mean.

    Only samples that can be among the ``width`` highest pass through SearchNet. W·sigmoid(Θ) sums to less than
    1 (with sigmoid weights each is less than 1), so the candidates' scores alone bound S̄; samples are taken in the
    order of that bound until ``width`` of them score at least as high as any other can. The highest ``width`` are the
    same as if all had been passed.

    Args:
        judges: One for the round, or one for each of its cycles; may be empty if the share is 1.
        scores: S of the candidates, (N, K).
        threshold: ϑ.
        prior: p, (K,), summing to 1.
        share: s, in [0, 1].
        n_labeled: Size of the labeled set.
        width: Number of highest scores needed; all by default.

    Returns:
        S̄, float32 (N,), -inf where it was not needed; and the mean trust over the scored samples, normalized over
        the strategies, float64 (K,) on the CPU.

    Raises:
        DeepALError: If a score is not finite.
    """
    n, device = len(scores), scores.device
    prior = prior.to(scores)
    scales = [judge.log_scale(n_labeled, device) for judge in judges]
    width = n if width is None else min(width, n)
    chunk, start = min((judge.chunk for judge in judges), default=n), 0
    rows = torch.arange(n, device=device)
    if width < n:
        bound = _bound(judges, scales, scores - threshold, prior, share)
        rows = bound.argsort(descending=True, stable=True)
    result, totals = torch.full((n,), -torch.inf, device=device), []
    while start < n:
        if width < n and start >= width and result.topk(width).values[-1] >= bound[rows[start]]:
            break
        part = rows[start : start + chunk] if width < n else slice(start, start + chunk)
        own = scores[part]
        trust = share * prior.expand(len(own), -1)
        for judge, scale in zip(judges, scales, strict=True):
            samples = own if judge.pool is None else judge.pool(rows[start : start + chunk])
            trust = trust + (1.0 - share) / len(judges) * (judge.log_trust(samples) - scale).exp()
        result[part] = (trust * (own - threshold)).sum(dim=1)
        totals.append(trust.sum(dim=0))
        start += len(own)
    total = torch.stack(totals).cpu().double().sum(dim=0)  # waits for the device only once
    weights = total / total.sum()
    if result.isnan().any() or not weights.isfinite().all():
        raise DeepALError("autoal's SearchNet returned scores that are not finite: use a lower search_learning_rate")
    return result, weights


def _bound(judges: Sequence[Judge], scales: Sequence[Tensor], margins: Tensor, prior: Tensor, share: float) -> Tensor:
    """Return an upper bound of S̄, (N,), for any output of the judges; ``margins`` are S - ϑ."""
    if not judges:
        return share * (margins @ prior)
    gains = margins.clamp_min(0.0)
    highest = gains.amax(dim=1) if judges[0].net.weights == "softmax" else gains.sum(dim=1)
    scale = torch.stack([(-scale).exp() for scale in scales]).mean()
    bound = (1.0 - share) * scale * highest + share * (margins @ prior)
    # Rounding must not put the bound below S̄.
    return bound + 1e-5 * (1.0 + bound.abs())
