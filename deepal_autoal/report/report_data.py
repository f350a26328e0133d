"""Computes the contents of a report: the numbers behind its tables, and the verdicts behind its sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from deepal_autoal.experiment.results import FinishedRun
from deepal_autoal.report import wording
from deepal_autoal.report.study import Study
from deepal_autoal.statistics import (
    Caution,
    Comparison,
    LabelSaving,
    PenaltyMatrix,
    PhaseTimes,
    Ranking,
    StrategyEstimates,
    compare_all,
    compare_to,
    estimate_all,
    find_cautions,
    label_savings,
    mean_areas,
    penalty_matrix,
    rank,
    relative_phase_times,
)
from deepal_autoal.statistics.paired import MIN_SEEDS, ROUNDING
from deepal_autoal.statistics.savings import BASELINE
from deepal_autoal.statistics.times import REFERENCE

# Verdicts on a strategy's comparison to the baseline.
BETTER, WORSE, UNDECIDED, UNTESTED, IS_BASELINE = "better", "worse", "not distinguishable", "too few seeds", "baseline"


@dataclass(frozen=True)
class OnDataset:
    """Statistics of a dataset's runs.

    Attributes:
        runs: By strategy and seed.
        estimates: By strategy.
        pairs: All pairs of strategies, compared by AUBC.
        to_baseline: Strategies compared to the baseline by AUBC, by label.
        savings, times: By strategy.
        best: The strategy with the highest mean AUBC, of those with the most seeds: a mean over fewer seeds may be
            high because of those seeds alone.
        like_best: Strategies that no test distinguishes from it.
    """

    runs: Mapping[str, Mapping[int, FinishedRun]]
    estimates: Mapping[str, StrategyEstimates]
    pairs: Sequence[Comparison]
    to_baseline: Mapping[str, Comparison]
    savings: Mapping[str, LabelSaving]
    times: Mapping[str, PhaseTimes]
    best: str
    like_best: tuple[str, ...]

    @property
    def order(self) -> tuple[str, ...]:
        """The strategies by mean AUBC, highest first."""
        return tuple(sorted(self.estimates, key=lambda name: (-self.estimates[name].aubc.mean, name)))

    @property
    def seeds(self) -> frozenset[int]:
        """All seeds on which any strategy was run."""
        return frozenset(seed for by_seed in self.runs.values() for seed in by_seed)

    @property
    def is_even(self) -> bool:
        """Whether all strategies were run on the same seeds."""
        return all(set(by_seed) == self.seeds for by_seed in self.runs.values())

    @property
    def is_tied(self) -> bool:
        """Whether all strategies have the same mean AUBC, so that none is the best."""
        means = [estimates.aubc.mean for estimates in self.estimates.values()]
        return len(means) > 1 and max(means) - min(means) <= ROUNDING


class Contents:
    """The contents of a report on a study, each computed once on first access.

    Args:
        study: The runs.
        baseline: The label of the strategy that the others are compared to.

    Attributes:
        study, baseline: As given.
    """

    def __init__(self, study: Study, baseline: str = BASELINE) -> None:
        self.study = study
        self.baseline = baseline

    @cached_property
    def by_dataset(self) -> dict[str, OnDataset]:
        """The statistics of each dataset."""
        results = self.study.results
        estimates, savings = estimate_all(results), label_savings(results, self.baseline)
        found = {}
        for dataset in results.datasets:
            runs, areas = results.on(dataset), results.areas(dataset)
            own = {item.strategy: item for item in estimates if item.dataset == dataset}
            pairs = compare_all(areas)
            best = max(own, key=lambda name: (own[name].aubc.n_seeds, own[name].aubc.mean))
            found[dataset] = OnDataset(
                runs, own, pairs,
                {comparison.ours: comparison for comparison in compare_to(areas, self.baseline)},
                {item.strategy: item for item in savings if item.dataset == dataset},
                relative_phase_times(runs, REFERENCE), best, _like(best, pairs),
            )  # fmt: skip
        return found

    @cached_property
    def cautions(self) -> list[Caution]:
        """What a reader must know about the numbers."""
        return find_cautions(self.study.results, self.baseline)

    @cached_property
    def penalties(self) -> PenaltyMatrix:
        """BADGE's matrix over all datasets."""
        return penalty_matrix(self.study.results)

    @cached_property
    def ranking(self) -> Ranking | None:
        """The strategies ranked over datasets; None if there is nothing to rank."""
        scores = mean_areas(self.study.results)
        return rank(scores) if len(scores) > 1 else None

    def verdict(self, dataset: str, strategy: str) -> str:
        """Return the verdict on a strategy's comparison to the baseline."""
        if strategy == self.baseline:
            return IS_BASELINE
        comparison = self.by_dataset[dataset].to_baseline.get(strategy)
        if comparison is None or comparison.difference.n_seeds < MIN_SEEDS:
            return UNTESTED if self.baseline in self.by_dataset[dataset].runs else wording.NOTHING
        return {None: UNDECIDED, strategy: BETTER}.get(comparison.winner, WORSE)


def _like(best: str, pairs: Sequence[Comparison]) -> tuple[str, ...]:
    """Return the strategies that no test distinguishes from the best.

    Pairs with too few seeds are left out: no test could distinguish them, so they are not a finding.
    """
    return tuple(
        sorted(
            pair.theirs if pair.ours == best else pair.ours
            for pair in pairs
            if best in (pair.ours, pair.theirs) and pair.winner is None and pair.difference.n_seeds >= MIN_SEEDS
        )
    )
