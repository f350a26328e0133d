"""The final stage of vote and autoal: from a score of every candidate sample to a batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from deepal_autoal import InputError, top_scores
from deepal_strategies.shared.covering_batches import REFERENCE, Target, cover, labeled_radius
from deepal_strategies.shared.diverse_batches import cluster_members
from deepal_strategies.shared.option_checks import check_at_least, check_choice
from deepal_strategies.shared.ranks import mid_ranks
from deepal_strategies.shared.uncertainty import negative_margin

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import QueryContext

FINALS = ("coverage", "diverse", "top")
# Of 1, so that something is left to choose by where the model is certain of everything.
_LEAST_UNCERTAINTY = 1e-6
# The filter of the diverse stage, in batches: its width at this many labels per class, and its limits.
WIDTH = 10.0
LABELS_PER_CLASS = 20
NARROWEST = 3.0
WIDEST = 30.0


class CoverageWeights(NamedTuple):
    """How much a candidate sample counts in the coverage stage: r^power·(1 - margin)^uncertainty, r its rank in [0, 1].

    Attributes:
        power: With 0 all ranks count alike, the higher, the more only those with the highest scores do.
        uncertainty: Power of the task model's own calibrated uncertainty; 0 for none. It needs probabilities, and,
            unless a candidate needs it too, three trainings for the temperature.
    """

    power: float
    uncertainty: float


# Weights of coverage, the best of those tried on development data, in the mean over budgets, for the vote of AutoAL's
# candidates (benchmarks/selectors): by ranks alone, which costs nothing, and with the task model's uncertainty.
BY_RANK = CoverageWeights(power=2.0, uncertainty=0.0)
BY_UNCERTAINTY = CoverageWeights(power=0.5, uncertainty=1.5)


@dataclass(frozen=True)
class FinalStage:
    """How a selector takes its batch from its combined scores.

    Attributes:
        final: ``"top"``: the b highest scores. ``"diverse"``: the highest scores, then k-means on the task model's
            embeddings with one sample from each of b clusters. ``"coverage"``: the greedy batch that best covers the
            samples with high scores (see `covering`). The b highest resemble each other; in our measurements this
            stage matters more than how the scores are combined.
        oversample: Width of the diverse stage's filter in batches; None for `budget_width`.
        power, uncertainty: Those of `CoverageWeights`; None for the default.
        default: The selector's own.

    Raises:
        InputError: If an option is out of range.
    """

    final: str
    oversample: int | None = None
    power: float | None = None
    uncertainty: float | None = None
    default: CoverageWeights = BY_RANK

    def __post_init__(self) -> None:
        check_choice("final", self.final, FINALS)
        check_at_least("power", self.weights.power, 0.0)
        check_at_least("uncertainty", self.weights.uncertainty, 0.0)
        if self.oversample is not None:
            check_at_least("oversample", self.oversample, 1)

    @property
    def weights(self) -> CoverageWeights:
        """The weights of the coverage stage."""
        return CoverageWeights(
            self.default.power if self.power is None else self.power,
            self.default.uncertainty if self.uncertainty is None else self.uncertainty,
        )

    @property
    def uses_uncertainty(self) -> bool:
        """Whether the stage needs probabilities and their temperature."""
        return self.final == "coverage" and self.weights.uncertainty > 0.0

    def describe_options(self) -> dict[str, float | None]:
        """Return power and uncertainty for the record: None where the stage does not cover."""
        covers = self.final == "coverage"
        return {name: value if covers else None for name, value in self.weights._asdict().items()}

    def refuse_without_effect(self, uses_width: bool = False) -> None:
        """Refuse options that change nothing in this stage.

        Args:
            uses_width: Whether the selector itself uses the width of the filter, unless only the top counts.

        Raises:
            InputError: If there is one.
        """
        for name, value in (("power", self.power), ("uncertainty", self.uncertainty)):
            if self.final != "coverage" and value is not None:
                raise InputError(
                    f"{name} has no effect with final={self.final}: leave it out, or choose final=coverage"
                )
        if self.oversample is not None and self.final != "diverse" and not (uses_width and self.final == "coverage"):
            raise InputError(f"oversample has no effect with final={self.final}: leave it out, or choose final=diverse")

    def width(self, context: QueryContext, batch_size: int) -> int:
        """Return how many of the highest scores are worth querying, b ... N; all others the diverse stage ignores."""
        if self.final == "top":
            return batch_size
        batches = budget_width(len(context.labeled), context.n_classes) if self.oversample is None else self.oversample
        return min(len(context.candidates), max(batch_size, round(batches * batch_size)))

    def needed(self, context: QueryContext, batch_size: int) -> int:
        """Return how many of the highest scores decide the batch, b ... N."""
        return len(context.candidates) if self.final == "coverage" else self.width(context, batch_size)

    def choose(
        self,
        context: QueryContext,
        scores: Tensor,
        batch_size: int,
        weights: Tensor | None = None,
    ) -> NDArray[np.int64]:
        """Return the batch as pool indices, int64 (b,).

        It has a random stream of its own, whatever was drawn before, so compared selectors make the same draws in this
        stage. What it did goes into the round's record.

        Args:
            context: Its candidates are the rows of ``scores``; its seed breaks ties.
            scores: Combined score of each candidate, (N,), higher = more informative.
            batch_size: Number of samples to choose, b.
            weights: How much each candidate counts in the k-means of the diverse stage, (N,), non-negative, in any
                unit; all equal by default.
        """
        seed = context.stream_seed("final")
        if self.final == "coverage":
            generator = torch.Generator(context.device).manual_seed(seed)
            return covering(context, self._coverage_weights(context, scores), batch_size, generator)
        generator = torch.Generator(scores.device).manual_seed(seed)
        width = self.width(context, batch_size)
        positions: NDArray[np.int64] = top_scores(scores, width, generator).cpu().numpy()
        if self.final == "diverse":
            # In the pool's order: the scores' last digits, which order the filter, must not change the clusters.
            positions.sort()
            kept = context.candidates.embeddings()[positions]
            shares = None if weights is None else weights[positions]
            chosen, clustering = cluster_members(kept, batch_size, np.random.default_rng(seed), shares)
            context.report(clustering=clustering)
            positions = positions[chosen]
        return context.candidates.indices[positions]

    def _coverage_weights(self, context: QueryContext, scores: Tensor) -> Tensor:
        """Return the weights, (N,) (see `CoverageWeights`)."""
        power, exponent = self.weights
        ranks = mid_ranks(scores).to(context.device)
        weights = (ranks / ranks.max()).pow(power)
        context.report(coverage_weights=self.weights._asdict())
        if not self.uses_uncertainty:
            return weights
        view = context.candidates
        context.report(temperature=view.temperature())
        uncertainty = (1.0 + negative_margin(view.calibrated_log_probabilities())).clamp_(min=_LEAST_UNCERTAINTY)
        return weights * uncertainty.to(weights.dtype).pow(exponent)


def covering(context: QueryContext, weights: Tensor, batch_size: int, generator: torch.Generator) -> NDArray[np.int64]:
    """Return the batch that covers best what the weights point to, as pool indices, int64 (b,).

    Greedy maximization of Σ_x u(x)·max_{s ∈ L ∪ B} k(s, x) over batches B: k(s, x) = exp(-‖s - x‖²/σ²) of embeddings
    of length 1, L the labeled samples, σ their median distance to the nearest other (see `labeled_radius`), u the
    weights. With 1 - margin of calibrated probabilities as u, it is UHerding's objective. While the labeled samples
    lie far apart, the batch covers the pool; as σ shrinks, samples cover little but themselves, and the batch moves
    towards the highest weights. Above 5,000 candidates, the sum is estimated from 5,000 draws of x in proportion to u;
    where samples cover nothing but themselves, the batch is then drawn from those, and not the highest weights.

    Args:
        context: The round.
        weights: u of each candidate, (N,), non-negative, not all 0.
        batch_size: b.
        generator: On the context's device.
    """
    if len(weights) > REFERENCE:
        reference, shares = draw_in_proportion(weights, REFERENCE, generator), None
    else:
        reference, shares = torch.arange(len(weights), device=weights.device), weights
    query = cover(context, batch_size, Target(labeled_radius(context, "nearest"), reference, shares), generator)
    context.report(coverage=query.report)
    return np.asarray(query.indices)


def draw_in_proportion(weights: Tensor, n_draws: int, generator: torch.Generator) -> Tensor:
    """Return positions drawn in proportion to weights by systematic sampling, int64 (n_draws,), sorted.

    The expected count of each is its share of ``n_draws``, and its count is that rounded up or down.

    Args:
        weights: Non-negative, not all 0, (n,).
        n_draws: Number of draws.
        generator: On the weights' device.
    """
    ends = weights.cumsum(0, dtype=torch.float32 if weights.device.type == "mps" else torch.float64)
    offset = torch.rand(1, generator=generator, device=weights.device).to(ends.dtype)
    points = (torch.arange(n_draws, device=weights.device, dtype=ends.dtype) + offset) * (ends[-1:] / n_draws)
    return torch.searchsorted(ends, points, right=True).clamp_(max=len(weights) - 1)


def budget_width(n_labeled: int, n_classes: int) -> float:
    """Return the diverse stage's filter in batches for a number of labels: 10·sqrt(20·C/M), limited to 3 to 30.

    With few labels a model's scores say little, and diversity must do more; later they can be trusted. The formula
    was chosen on separate development data: compared with a fixed width of 10, it gained most at the lowest and the
    highest budget (benchmarks/autoal).

    Args:
        n_labeled: M.
        n_classes: C; with twenty labels per class the width is 10.
    """
    return min(max(WIDTH * math.sqrt(LABELS_PER_CLASS * n_classes / max(1, n_labeled)), NARROWEST), WIDEST)
