"""Covering batches: the greedy choice that covers the pool best, as MaxHerding, UHerding and the final stage use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from deepal_autoal import Query
from deepal_strategies.shared.coverage import Similarity, choose_covering, gaussian
from deepal_strategies.shared.neighbors import nearest_distances

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext

# Reference samples by default: a mean over as many has a standard error of at most 0.7%. A batch of 1,000 of 50,000
# candidates in 512 dimensions then takes 5 s on two cores, with 10,000 of them 12 s.
REFERENCE = 5_000
# The paper's radius where fewer than two distinct samples are labeled.
FIRST_RADIUS = 1.0


def labeled_radius(context: QueryContext, which: str) -> float:
    """Return ``nearest``, the median distance of a labeled sample to the nearest other, or ``min``, the smallest.

    Coinciding samples do not count; `FIRST_RADIUS` if no two are distinct.
    """
    distances = nearest_distances(context.labeled.embeddings())
    distances = distances[distances.isfinite()]
    if not len(distances):
        return FIRST_RADIUS
    return float(distances.min() if which == "min" else distances.quantile(0.5))


def cover(
    context: QueryContext,
    batch_size: int,
    radius: float,
    reference: Tensor,
    weights: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Query:
    """Return the greedy batch that covers the reference set best.

    Args:
        context: The round.
        batch_size: b.
        radius: σ.
        reference: Positions of the candidates whose coverage counts, int64 (R,); a repeated one counts repeatedly.
        weights: How much each of them counts, (R,), non-negative; all equal by default.
        generator: Breaks ties; the context's by default.

    Returns:
        Pool indices in the order of the choices; the report holds σ, and the weighted mean coverage of the reference
        set before and after the choice, each in [0, 1].
    """
    embeddings = context.candidates.embeddings()
    similarity = Similarity(embeddings[reference], radius, gaussian)
    covered = similarity.best(context.labeled.embeddings())
    shares = torch.ones_like(covered) if weights is None else weights.to(covered.dtype)
    before = _mean(covered, shares)
    chosen, _ = choose_covering(
        similarity, embeddings, covered, batch_size, generator or context.generator, shares, context.progress
    )
    coverage = torch.stack([before, _mean(covered, shares)]).tolist()
    report: dict[str, Any] = {"radius": radius, "coverage_before": coverage[0], "coverage_after": coverage[1]}
    return Query(context.candidates.indices[chosen.cpu().numpy()], report)


def _mean(covered: Tensor, shares: Tensor) -> Tensor:
    """Return the weighted mean, 0 where all weights are 0."""
    return (covered @ shares) / shares.sum().clamp(min=torch.finfo(shares.dtype).tiny)
