"""Paired differences over seeds, with test and correction.

Tests are paired t-tests: with ten seeds a Wilcoxon signed-rank test cannot have a p-value below 2/1024, which Holm's
correction over some thirty comparisons raises to 0.06 whatever the data are. An AUBC is a mean over rounds and
thousands of test samples, so normality of its differences is a mild assumption; the number of seeds on which the
difference is positive is reported beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepal_autoal.statistics.estimates import bootstrap_interval

ALPHA = 0.05
# Below this no verdict is given: a test of three or four seeds depends on a distribution that it cannot check.
MIN_SEEDS = 5
# Differences of decimal fractions that are equal on paper differ by less than this in floating point.
ROUNDING = 1e-9

BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Difference:
    """A paired difference over the seeds that both have.

    Attributes:
        n_seeds: Number of seeds.
        mean: Mean of ours minus theirs; above 0, ours is better.
        low, high: 95% bootstrap interval of the mean.
        p: p-value of a two-sided paired t-test; None for fewer than two seeds.
        n_above: Number of seeds on which ours is higher.
    """

    n_seeds: int
    mean: float
    low: float
    high: float
    p: float | None
    n_above: int


@dataclass(frozen=True)
class Comparison:
    """Two strategies on a dataset, as one of several comparisons that are corrected together.

    Attributes:
        ours, theirs: The strategies' labels.
        difference: Ours minus theirs.
        p_holm: The p-value after Holm's correction over all comparisons with at least five seeds; None with fewer.
    """

    ours: str
    theirs: str
    difference: Difference
    p_holm: float | None

    @property
    def winner(self) -> str | None:
        """The strategy whose mean is significantly higher at 5%; None if neither is, or with fewer than five seeds."""
        if self.p_holm is None or self.p_holm >= ALPHA:
            return None
        return self.ours if self.difference.mean > 0 else self.theirs


def compare_all(values: Mapping[str, BySeed]) -> list[Comparison]:
    """Compare every pair of strategies, with Holm's correction over all pairs that have five seeds in common.

    Args:
        values: A measure on one dataset, for example AUBC, by strategy and seed; higher is better.
    """
    pairs = itertools.combinations(values, 2)
    return _correct([(ours, theirs, compare(values[ours], values[theirs])) for ours, theirs in pairs])


def compare_to(values: Mapping[str, BySeed], baseline: str) -> list[Comparison]:
    """Compare each strategy to a baseline, with Holm's correction over those that share five seeds with it.

    Args:
        values: A measure on one dataset, for example AUBC, by strategy and seed; higher is better.
        baseline: The label of ``theirs``.

    Returns:
        A comparison for each strategy that shares a seed with the baseline; empty if the baseline is missing.
    """
    theirs = values.get(baseline, {})
    return _correct([(name, baseline, compare(own, theirs)) for name, own in values.items() if name != baseline])


def compare(ours: BySeed, theirs: BySeed) -> Difference | None:
    """Return the paired difference; None if there is no seed in common."""
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return None
    values = np.array([ours[seed] - theirs[seed] for seed in seeds])
    low, high = bootstrap_interval(values.tolist())
    mean = float(values.mean())
    return Difference(
        len(seeds), mean, min(low, mean), max(high, mean), paired_t_test(values), int((values > ROUNDING).sum())
    )  # fmt: skip


def paired_t_test(differences: npt.NDArray[Any]) -> float | None:
    """Return the two-sided p-value for a mean difference of 0 (see `paired_t_tests`); None for one difference."""
    return float(paired_t_tests(differences[None])[0]) if len(differences) > 1 else None


def paired_t_tests(differences: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return for each row the two-sided p-value for a mean difference of 0.

    If all of a row's differences are 0, it is 1. If they are all equal but not 0, as happens with small test sets,
    there is no spread to measure them by; then it is the p-value of the exact sign-flip test, 2 / 2**n.

    Args:
        differences: (tests, n), with at least two seeds.

    Returns:
        (tests,), in [0, 1].
    """
    from scipy.special import stdtr

    n = differences.shape[1]
    p = np.ones(len(differences))
    is_constant = np.ptp(differences, axis=1) <= ROUNDING
    p[is_constant & (np.abs(differences[:, 0]) > ROUNDING)] = 2.0 ** (1 - n)
    # The formula itself: of scipy's functions for it, checks of the arguments take most of the time.
    varied = differences[~is_constant]
    t = varied.mean(axis=1) / np.sqrt(varied.var(axis=1, ddof=1) / n)
    p[~is_constant] = 2 * stdtr(n - 1, -np.abs(t))
    return p


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p-values adjusted for their number as in Holm (1979); None stays None and does not count."""
    order = sorted((p, number) for number, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, number) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        adjusted[number] = highest
    return adjusted


def _correct(found: Sequence[tuple[str, str, Difference | None]]) -> list[Comparison]:
    compared = [(ours, theirs, difference) for ours, theirs, difference in found if difference is not None]
    # A comparison on too few seeds gets no verdict, and must not make the correction of the others stricter.
    adjusted = holm([difference.p if difference.n_seeds >= MIN_SEEDS else None for _, _, difference in compared])
    return [Comparison(*parts, p_holm=p) for parts, p in zip(compared, adjusted, strict=True)]
