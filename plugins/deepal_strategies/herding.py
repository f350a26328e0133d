"""MaxHerding and UHerding: greedy coverage of the pool by a Gaussian kernel, the latter of its uncertain samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import torch

from deepal_autoal import Query, Strategy
from deepal_strategies.shared.coverage import (
    CoveringChoice,
    Similarity,
    choose_covering,
    draw_reference,
    gaussian,
)
from deepal_strategies.shared.neighbors import nearest_distances
from deepal_strategies.shared.option_checks import check_at_least, check_choice, check_positive
from deepal_strategies.shared.taken_rows import TakenRows
from deepal_strategies.shared.uncertainty import negative_margin

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext

# Reference samples by default: a mean over as many has a standard error of at most 0.7%. A batch of 1,000 of 50,000
# candidates in 512 dimensions then takes 5 s on two cores, with 10,000 of them 12 s.
REFERENCE = 5_000
# The paper's radius where fewer than two distinct samples are labeled.
FIRST_RADIUS = 1.0


class MaxHerding(Strategy):
    """Repeatedly the candidate that covers most of the pool (Bae, Noh & Sutherland, ECCV 2024).

    Embeddings are scaled to length 1; a sample s covers x by exp(-‖x - s‖²/σ²), and the batch is the greedy choice
    that maximizes the mean coverage of the reference set by the labeled and chosen samples. The choice is exact (see
    `coverage`). The authors choose among and average over the same random part of the pool, at most 35,000 samples
    and the labeled ones; here all candidates can be chosen, and labeled samples, which cover themselves, are left out
    of the reference set, as they add the same to every batch.

    Without labeled samples nothing is covered; the first choice is then the candidate most similar to all others.

    Args:
        radius: σ; embeddings of length 1 are at most 2 apart.
        reference: Number of candidates, drawn at random in every round, whose coverage counts; at most all.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"embeddings"})

    def __init__(self, radius: float = 1.0, reference: int = REFERENCE) -> None:
        check_positive("radius", radius)
        check_at_least("reference", reference, 1)
        self.radius = radius
        self.reference = reference

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch, in the order in which it was chosen."""
        return herd(context, batch_size, self.radius, self.reference)

    def picks_in_turn(self, context: QueryContext, batch_size: int, taken: Sequence[int]) -> Iterator[int]:
        """Yield the candidate that adds most to the coverage by labeled and taken samples, one at a time."""
        return herd_in_turn(context, batch_size, taken, self.radius, self.reference)


class UHerding(Strategy):
    """Repeatedly the candidate that covers most of the pool's uncertainty (Bae, Oliveira & Sutherland, ICLR 2025).

    MaxHerding with reference samples weighted by their uncertainty, 1 - (p_(1) - p_(2)), of calibrated probabilities.
    σ shrinks as labeled samples get closer to each other, which turns it from coverage, with few labels, to margin.
    Without labeled samples all weights are 1; labeled ones, whose weight is 0 in the paper, are not in the reference
    set.

    Departures: the paper's σ is the smallest distance between labeled samples, which a single pair of near-duplicates
    brings close to 0, so that the batch is that of margin; the default is the median of the distances to the nearest
    labeled sample. The paper takes the temperature with the lowest calibration error of a second model that is trained
    without the last 30% of the labels; here it is the engine's, fitted by cross-validation to their likelihood, which
    costs three trainings. Reference set and candidates are those of `MaxHerding`.

    Args:
        radius: σ. ``nearest``: the median, over labeled samples, of the distance to the nearest other one. ``min``:
            the smallest such distance, as in the paper. A number is σ itself. Distances are of embeddings of length
            1; coinciding samples do not count, and σ is 1 where no two labeled samples are distinct.
        temperature: What logits are divided by before softmax: ``calibrated``, or a number; 1 leaves them as they are.
        reference: Number of candidates, drawn at random in every round, whose coverage counts; at most all.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"embeddings", "probabilities"})

    def __init__(
        self,
        radius: float | Literal["nearest", "min"] = "nearest",
        temperature: float | Literal["calibrated"] = "calibrated",
        reference: int = REFERENCE,
    ) -> None:
        if isinstance(radius, str):
            check_choice("radius", radius, ("nearest", "min"))
        else:
            check_positive("radius", radius)
        if isinstance(temperature, str):
            check_choice("temperature", temperature, ("calibrated",))
        else:
            check_positive("temperature", temperature)
        check_at_least("reference", reference, 1)
        self.radius = radius
        self.temperature = temperature
        self.reference = reference

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch, in the order in which it was chosen; the report holds σ and the temperature."""
        radius, weights = self._aim(context)
        return herd(context, batch_size, radius, self.reference, weights)

    def picks_in_turn(self, context: QueryContext, batch_size: int, taken: Sequence[int]) -> Iterator[int]:
        """Yield the candidate that adds most to the coverage by labeled and taken samples, one at a time."""
        radius, weights = self._aim(context)
        yield from herd_in_turn(context, batch_size, taken, radius, self.reference, weights)

    def _aim(self, context: QueryContext) -> tuple[float, Tensor | None]:
        """Return σ and the candidates' weights in the reference set, (N,); None for equal ones."""
        radius = labeled_radius(context, self.radius) if isinstance(self.radius, str) else self.radius
        weights = None
        if len(context.labeled):
            view = context.candidates
            if isinstance(self.temperature, str):
                log_probabilities, temperature = view.calibrated_log_probabilities(), view.temperature()
            else:
                temperature = self.temperature
                log_probabilities = (view.logits() / temperature).log_softmax(dim=1)
            context.report(temperature=temperature)
            weights = 1.0 + negative_margin(log_probabilities)
        return radius, weights


def labeled_radius(context: QueryContext, which: str) -> float:
    """Return ``nearest``, the median distance of a labeled sample to the nearest other, or ``min``, the smallest.

    Coinciding samples do not count; `FIRST_RADIUS` if no two are distinct.
    """
    distances = nearest_distances(context.labeled.embeddings())
    distances = distances[distances.isfinite()]
    if not len(distances):
        return FIRST_RADIUS
    return float(distances.min() if which == "min" else distances.quantile(0.5))


def herd(
    context: QueryContext, batch_size: int, radius: float, n_reference: int, weights: Tensor | None = None
) -> Query:
    """Return the greedy batch that covers the reference set best.

    Args:
        context: The round.
        batch_size: b.
        radius: σ.
        n_reference: Number of reference samples, drawn at random from the candidates.
        weights: How much each candidate counts in the reference set, (N,), non-negative; all equal by default.

    Returns:
        Pool indices in the order of the choices; the report holds σ, and the weighted mean coverage of the reference
        set before and after the choice, each in [0, 1].
    """
    similarity, covered, shares, report = _target(context, radius, n_reference, weights)
    chosen, _ = choose_covering(
        similarity, context.candidates.embeddings(), covered, batch_size, context.generator, shares, context.progress
    )
    report["coverage_after"] = float(_mean(covered, shares))
    return Query(context.candidates.indices[chosen.cpu().numpy()], report)


def herd_in_turn(
    context: QueryContext,
    batch_size: int,
    taken: Sequence[int],
    radius: float,
    n_reference: int,
    weights: Tensor | None = None,
) -> Iterator[int]:
    """Yield the choices of `herd` one at a time, as pool indices; what others took covers, too.

    Args:
        context: The round.
        batch_size: Number of samples that are taken in the end.
        taken: Pool indices taken so far, which grows elsewhere.
        radius: As for `herd`, like the others.
        n_reference: Number of reference samples.
        weights: How much each candidate counts.
    """
    similarity, covered, shares, report = _target(context, radius, n_reference, weights)
    context.report(**report)
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


def _target(
    context: QueryContext, radius: float, n_reference: int, weights: Tensor | None
) -> tuple[Similarity, Tensor, Tensor, dict[str, float]]:
    """Return the reference set's kernel, how well labeled samples cover it and its weights, (R,), and a report."""
    embeddings = context.candidates.embeddings()
    drawn = draw_reference(context, n_reference)
    similarity = Similarity(embeddings[drawn], radius, gaussian)
    covered = similarity.best(context.labeled.embeddings())
    shares = torch.ones_like(covered) if weights is None else weights[drawn].to(covered.dtype)
    return similarity, covered, shares, {"radius": radius, "coverage_before": float(_mean(covered, shares))}


def _mean(covered: Tensor, shares: Tensor) -> Tensor:
    """Return the weighted mean, 0 where all weights are 0."""
    return (covered @ shares) / shares.sum().clamp(min=torch.finfo(shares.dtype).tiny)
