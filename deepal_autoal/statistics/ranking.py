"""Strategies over several datasets: Friedman's test, Wilcoxon's with Holm's correction, and groups without differences.

This is what a critical-difference diagram shows (Demšar 2006), with Wilcoxon's signed-rank test in place of Nemenyi's,
whose verdict on two strategies depends on which others are ranked with them (Benavoli, Corani & Mangili 2016).
"""

from __future__ import annotations

import functools
import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepal_autoal.experiment.results import Results
from deepal_autoal.statistics.paired import ALPHA, holm

# Scores that are equal on paper tie, whatever their last bits.
DECIMALS = 9
# Up to this number all signs of the differences (8192) are tried, which is exact with ties too; older scipy is not.
EXACT_UP_TO = 13


@dataclass(frozen=True)
class FriedmanTest:
    """Whether any strategy's ranks differ from the others' (Friedman 1937).

    Attributes:
        statistic: The chi-square statistic, corrected for ties.
        p: Its p-value by the chi-square approximation, which is rough for few datasets.
    """

    statistic: float
    p: float


@dataclass(frozen=True)
class RankedPair:
    """Two strategies over the datasets.

    Attributes:
        better, worse: Their labels, by mean rank.
        p: p-value of a two-sided Wilcoxon signed-rank test.
        p_holm: The p-value after Holm's correction over all pairs.
        is_different: Whether a difference may be claimed: ``p_holm`` is below 5%, and so is Friedman's p if there are
            more than two strategies.
    """

    better: str
    worse: str
    p: float
    p_holm: float
    is_different: bool


@dataclass(frozen=True)
class Ranking:
    """Strategies ranked over datasets.

    Attributes:
        strategies: The labels, best mean rank first.
        mean_ranks: Their mean ranks; 1 is best, ties share their ranks.
        datasets: The datasets that they are ranked on, sorted.
        left_out: Strategies that are missing on some of the datasets.
        friedman: None for fewer than three strategies or two datasets.
        pairs: All pairs, in the strategies' order.
        cliques: Groups of neighbors no two of which are different, which a diagram connects by bars; none is inside
            another, and none has a single strategy.
        smallest_p_holm: The smallest ``p_holm`` possible with this many datasets and pairs, for a strategy that is
            better on every dataset. At 0.05 or above no pair can be found different, whatever the data are.
        n_datasets_needed: How many datasets bring that below 0.05.
    """

    strategies: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    datasets: tuple[str, ...]
    left_out: tuple[str, ...]
    friedman: FriedmanTest | None
    pairs: tuple[RankedPair, ...]
    cliques: tuple[tuple[str, ...], ...]
    smallest_p_holm: float
    n_datasets_needed: int

    @property
    def can_tell(self) -> bool:
        """Whether there are enough datasets for any pair to be found different."""
        return self.smallest_p_holm < ALPHA


def mean_areas(results: Results) -> dict[str, dict[str, float]]:
    """Return mean AUBC by dataset and strategy, for `rank`.

    Means are over the seeds that the strategies which are on every dataset have in common. A dataset on which these
    have no seed in common is left out.
    """
    areas = {dataset: results.areas(dataset) for dataset in results.datasets}
    everywhere = _everywhere(areas)
    scores = {}
    for dataset, by_strategy in areas.items():
        seeds = sorted(set.intersection(*(set(by_strategy[name]) for name in everywhere))) if everywhere else []
        if seeds:
            scores[dataset] = {
                name: statistics.fmean(by_seed[seed] for seed in seeds)
                for name, by_seed in by_strategy.items()
                if set(seeds) <= set(by_seed)
            }
    return scores


def rank(scores: Mapping[str, Mapping[str, float]]) -> Ranking | None:
    """Rank strategies over datasets, and test which differ.

    Args:
        scores: By dataset and strategy, for example from `mean_areas`; higher is better. One score each: seeds are
            not independent samples of datasets.

    Returns:
        None if fewer than two strategies are on every dataset.
    """
    everywhere = _everywhere(scores)
    if len(everywhere) < 2:
        return None
    datasets = tuple(sorted(scores))
    table = np.round([[scores[dataset][name] for name in everywhere] for dataset in datasets], DECIMALS)
    mean_ranks = _ranks(-table).mean(axis=0)
    order = sorted(range(len(everywhere)), key=lambda place: (mean_ranks[place], everywhere[place]))
    names, table = tuple(everywhere[place] for place in order), table[:, order]
    friedman = _friedman(table)
    pairs = _pairs(names, table, may_differ=len(names) == 2 or (friedman is not None and friedman.p < ALPHA))
    n_needed = next(n for n in itertools.count(1) if _smallest_p(n, len(pairs)) < ALPHA)
    return Ranking(
        strategies=names,
        mean_ranks=tuple(float(mean_ranks[place]) for place in order),
        datasets=datasets,
        left_out=tuple(sorted({name for by_strategy in scores.values() for name in by_strategy} - set(names))),
        friedman=friedman,
        pairs=pairs,
        cliques=_cliques(names, pairs),
        smallest_p_holm=_smallest_p(len(datasets), len(pairs)),
        n_datasets_needed=n_needed,
    )


def signed_rank_test(differences: Sequence[float] | npt.NDArray[Any]) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test; 1 if all differences are 0.

    Differences of 0 are dropped. With up to 13 others the test is exact: below n = 6 no p-value is under
    2 / 2**5 = 0.06. With more it is the normal approximation if some are equal in size.
    """
    found = np.round(np.asarray(differences, dtype=float), DECIMALS)
    found = found[found != 0]
    if len(found) < 2:
        return 1.0
    if len(found) > EXACT_UP_TO:
        from scipy.stats import wilcoxon

        return float(wilcoxon(found, method="auto").pvalue)
    ranks = _ranks(np.abs(found)[None])[0]
    # Ranks are multiples of a half, so sums are exact and ties among them are found.
    sums = _signs(len(found)) @ ranks
    observed = np.sign(found) @ ranks
    return min(1.0, 2 * min(float((sums <= observed).mean()), float((sums >= observed).mean())))


def _ranks(table: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the rank of each value in its row, from 1; ties get their mean rank."""
    n_below = (table[:, :, None] > table[:, None, :]).sum(axis=2)
    ranks: npt.NDArray[np.float64] = n_below + (_n_equal(table) + 1) / 2
    return ranks


def _n_equal(table: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return how many values of its row are equal to each value, itself included."""
    n_equal: npt.NDArray[np.int64] = (table[:, :, None] == table[:, None, :]).sum(axis=2)
    return n_equal


@functools.lru_cache(maxsize=EXACT_UP_TO)
def _signs(n: int) -> npt.NDArray[np.float64]:
    """Return all ways to give n values a sign, (2**n, n)."""
    is_negative = np.arange(2**n)[:, None] >> np.arange(n) & 1
    return 1 - 2 * is_negative.astype(np.float64)


def _everywhere(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the strategies that are on every dataset, sorted."""
    return sorted(set.intersection(*(set(by_strategy) for by_strategy in scores.values()))) if scores else []


def _friedman(table: npt.NDArray[Any]) -> FriedmanTest | None:
    n_datasets, n_strategies = table.shape
    if n_strategies < 3 or n_datasets < 2:
        return None
    if (table == table[:, :1]).all():  # only ties
        return FriedmanTest(0.0, 1.0)
    from scipy.special import chdtrc

    rank_sums = _ranks(table).sum(axis=0)
    n_ranks = n_datasets * n_strategies
    spread = 12 / (n_ranks * (n_strategies + 1)) * (rank_sums**2).sum() - 3 * n_datasets * (n_strategies + 1)
    # A group of t ties has t members, each of which counts t**2 - 1: together t**3 - t.
    ties = (_n_equal(table) ** 2 - 1).sum()
    statistic = float(spread / (1 - ties / (n_ranks * (n_strategies**2 - 1))))
    return FriedmanTest(statistic, float(chdtrc(n_strategies - 1, statistic)))


def _pairs(names: Sequence[str], table: npt.NDArray[Any], may_differ: bool) -> tuple[RankedPair, ...]:
    places = list(itertools.combinations(range(len(names)), 2))
    p_values = [signed_rank_test(table[:, i] - table[:, j]) for i, j in places]
    adjusted = [p for p in holm(p_values) if p is not None]
    return tuple(
        RankedPair(names[i], names[j], p, p_holm, may_differ and p_holm < ALPHA)
        for (i, j), p, p_holm in zip(places, p_values, adjusted, strict=True)
    )


def _cliques(names: Sequence[str], pairs: Sequence[RankedPair]) -> tuple[tuple[str, ...], ...]:
    different = {(pair.better, pair.worse) for pair in pairs if pair.is_different}
    cliques, reached = [], 0
    for start in range(len(names)):
        end = start + 1
        while end < len(names) and not any((name, names[end]) in different for name in names[start:end]):
            end += 1
        if end - start > 1 and end > reached:  # else it is inside the previous one
            cliques.append(tuple(names[start:end]))
            reached = end
    return tuple(cliques)


def _smallest_p(n_datasets: int, n_pairs: int) -> float:
    """Return Holm's p for a pair whose differences have the same sign on every dataset."""
    return min(1.0, 2.0 ** (1 - n_datasets) * n_pairs)
