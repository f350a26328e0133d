"""Covering batches: the greedy choice that covers the pool best, as MaxHerding, UHerding and the final stage use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from deepal_autoal import Query
from deepal_strategies.shared.coverage import CoveringChoice, Similarity, choose_covering, gaussian
from deepal_strategies.shared.neighbors import nearest_distances
from deepal_strategies.shared.taken_rows import TakenRows

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


@dataclass(frozen=True)
class Target:
    """What a batch is to cover.

    Attributes:
        radius: σ.
        reference: Positions of the candidates whose coverage counts, int64 (R,); a repeated one counts repeatedly.
        weights: How much each of them counts, (R,), non-negative; all equal by default.
    """

    radius: float
    reference: Tensor
    weights: Tensor | None = None


def cover(context: QueryContext, batch_size: int, target: Target, generator: torch.Generator | None = None) -> Query:
    """Return the greedy batch that covers the target best.

    Args:
        context: The round.
        batch_size: b.
        target: What is to be covered.
        generator: Breaks ties; the context's by default.

    Returns:
        Pool indices in the order of the choices; the report holds σ, and the weighted mean coverage of the reference
        set before and after the choice, each in [0, 1].
    """
    similarity, covered, shares = _prepared(context, target)
    before = _mean(covered, shares)
    chosen, _ = choose_covering(
        similarity,
        context.candidates.embeddings(),
        covered,
        batch_size,
        generator or context.generator,
        shares,
        context.progress,
    )
    coverage = torch.stack([before, _mean(covered, shares)]).tolist()
    report: dict[str, Any] = {"radius": target.radius, "coverage_before": coverage[0], "coverage_after": coverage[1]}
    return Query(context.candidates.indices[chosen.cpu().numpy()], report)


def cover_in_turn(context: QueryContext, batch_size: int, taken: Sequence[int], target: Target) -> Iterator[int]:
    """Yield the choices of `cover` one at a time, as pool indices; what others took covers, too.

    Args:
        context: The round.
        batch_size: Number of samples that are taken in the end.
        taken: Pool indices taken so far, which grows elsewhere.
        target: What is to be covered.
    """
    similarity, covered, shares = _prepared(context, target)
    context.report(radius=target.radius, coverage_before=float(_mean(covered, shares)))
    choice = CoveringChoice(similarity, context.candidates.embeddings(), covered, context.generator, shares)
    known = TakenRows(context, taken)
    while True:
        for row in known.others()[:, None]:
            choice.take(row)
        if len(taken) >= batch_size:
            return
        best, _ = choice.best()
        choice.take(best)
        yield known.own(int(best))


def _prepared(context: QueryContext, target: Target) -> tuple[Similarity, Tensor, Tensor]:
    """Return the kernel with the reference set, how well labeled samples cover it and its weights, both (R,)."""
    similarity = Similarity(context.candidates.embeddings()[target.reference], target.radius, gaussian)
    covered = similarity.best(context.labeled.embeddings())
    shares = torch.ones_like(covered) if target.weights is None else target.weights.to(covered.dtype)
    return similarity, covered, shares


def _mean(covered: Tensor, shares: Tensor) -> Tensor:
    """Return the weighted mean, 0 where all weights are 0."""
    return (covered @ shares) / shares.sum().clamp(min=torch.finfo(shares.dtype).tiny)
