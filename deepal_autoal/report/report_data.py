"""Computes the contents of a report: the numbers behind its tables, and the verdicts behind its sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from deepal_autoal.experiment.results import FinishedRun, Results
from deepal_autoal.plugins.registry import is_oracle
from deepal_autoal.report import wording
from deepal_autoal.report.study import Study
from deepal_autoal.statistics import (
    Caution,
    Comparison,
    LabelSaving,
    PenaltyMatrix,
    PhaseTimes,
    Ranking,
    Regret,
    StrategyEstimates,
    compare_all,
    compare_to,
    estimate_all,
    find_cautions,
    find_regrets,
    label_savings,
    mean_areas,
    penalty_matrix,
    rank,
    relative_phase_times,
    without_oracles,
)
from deepal_autoal.statistics.paired import MIN_SEEDS, ROUNDING
from deepal_autoal.statistics.savings import BASELINE
from deepal_autoal.statistics.times import REFERENCE

# Verdicts on a strategy's comparison to the baseline.
BETTER, WORSE, UNDECIDED, UNTESTED, IS_BASELINE = "better", "worse", "not distinguishable", "too few seeds", "baseline"
IS_ORACLE = "oracle"


@dataclass(frozen=True)
class OnDataset:
    """Statistics of a dataset's runs.

    Attributes:
        runs: By strategy and seed, oracles included.
        estimates: By strategy, likewise.
        compared: The strategies that are compared: all but oracles. If only oracles were run, these.
        pairs: All pairs of these, compared by AUBC.
        to_baseline: Strategies compared to the baseline by AUBC, by label.
        savings, times: By strategy; savings without oracles.
        regrets: Of each strategy and oracle to each oracle.
        best: The strategy with the highest mean AUBC, of those with the most seeds: a mean over fewer seeds may be
            high because of those seeds alone.
        like_best: Strategies that no test distinguishes from it.
    """

    runs: Mapping[str, Mapping[int, FinishedRun]]
    estimates: Mapping[str, StrategyEstimates]
    compared: tuple[str, ...]
    pairs: Sequence[Comparison]
    to_baseline: Mapping[str, Comparison]
    savings: Mapping[str, LabelSaving]
    times: Mapping[str, PhaseTimes]
    regrets: Sequence[Regret]
    best: str
    like_best: tuple[str, ...]

    @property
    def order(self) -> tuple[str, ...]:
        """The strategies by mean AUBC, highest first."""
        return tuple(sorted(self.estimates, key=lambda name: (-self.estimates[name].aubc.mean, name)))

    @property
    def seeds(self) -> frozenset[int]:
        """All seeds on which any compared strategy was run."""
        return frozenset(seed for name in self.compared for seed in self.runs[name])

    @property
    def is_even(self) -> bool:
        """Whether all compared strategies were run on the same seeds."""
        return all(set(self.runs[name]) == self.seeds for name in self.compared)

    @property
    def is_tied(self) -> bool:
        """Whether all compared strategies have the same mean AUBC, so that none is the best."""
        means = [self.estimates[name].aubc.mean for name in self.compared]
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
    def compared(self) -> Results:
        """The runs that are compared: those of strategies, or, on a dataset with oracles only, of these."""
        results = self.study.results
        has_strategies = set(without_oracles(results).datasets)
        return Results(
            tuple(run for run in results.runs if not (is_oracle(run.strategy) and run.dataset in has_strategies))
        )

    @cached_property
    def by_dataset(self) -> dict[str, OnDataset]:
        """The statistics of each dataset."""
        results = self.study.results
        estimates, savings, regrets = (
            estimate_all(results),
            label_savings(self.compared, self.baseline),
            find_regrets(results),
        )
        found = {}
        for dataset in results.datasets:
            runs, areas = results.on(dataset), self.compared.areas(dataset)
            own = {item.strategy: item for item in estimates if item.dataset == dataset}
            pairs = compare_all(areas)
            best = max(areas, key=lambda name: (own[name].aubc.n_seeds, own[name].aubc.mean))
            found[dataset] = OnDataset(
                runs, own, tuple(areas), pairs,
                {comparison.ours: comparison for comparison in compare_to(areas, self.baseline)},
                {item.strategy: item for item in savings if item.dataset == dataset},
                relative_phase_times(runs, REFERENCE),
                [item for item in regrets if item.dataset == dataset], best, _like(best, pairs),
            )  # fmt: skip
        return found

    @cached_property
    def cautions(self) -> list[Caution]:
        """What a reader must know about the numbers."""
        return find_cautions(self.compared, self.baseline)

    @cached_property
    def penalties(self) -> PenaltyMatrix:
        """BADGE's matrix over all datasets."""
        return penalty_matrix(without_oracles(self.study.results))

    @cached_property
    def ranking(self) -> Ranking | None:
        """The strategies ranked over datasets; None if there is nothing to rank."""
        scores = mean_areas(without_oracles(self.study.results))
        return rank(scores) if len(scores) > 1 else None

    def verdict(self, dataset: str, strategy: str) -> str:
        """Return the verdict on a strategy's comparison to the baseline."""
        if strategy == self.baseline:
            return IS_BASELINE
        if is_oracle(strategy):
            return IS_ORACLE
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
