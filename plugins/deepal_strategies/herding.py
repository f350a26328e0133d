"""MaxHerding and UHerding: greedy coverage of the pool by a Gaussian kernel, the latter of its uncertain samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from deepal_autoal import Query, Strategy
from deepal_strategies.shared.coverage import draw_reference
from deepal_strategies.shared.covering_batches import REFERENCE, Target, cover, cover_in_turn, labeled_radius
from deepal_strategies.shared.option_checks import check_at_least, check_choice, check_positive
from deepal_strategies.shared.uncertainty import negative_margin

if TYPE_CHECKING:
    from deepal_autoal import QueryContext


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
        return cover(context, batch_size, self._target(context))

    def picks_in_turn(self, context: QueryContext, batch_size: int, taken: Sequence[int]) -> Iterator[int]:
        """Yield the candidate that adds most to the coverage by labeled and taken samples, one at a time."""
        return cover_in_turn(context, batch_size, taken, self._target(context))

    def _target(self, context: QueryContext) -> Target:
        return Target(self.radius, draw_reference(context, self.reference))


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
        return cover(context, batch_size, self._target(context))

    def picks_in_turn(self, context: QueryContext, batch_size: int, taken: Sequence[int]) -> Iterator[int]:
        """Yield the candidate that adds most to the coverage by labeled and taken samples, one at a time."""
        return cover_in_turn(context, batch_size, taken, self._target(context))

    def _target(self, context: QueryContext) -> Target:
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
        reference = draw_reference(context, self.reference)
        return Target(radius, reference, None if weights is None else weights[reference])
