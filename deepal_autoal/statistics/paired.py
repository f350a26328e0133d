"""Paired differences over seeds, with test and correction.

Tests are paired t-tests: of ten seeds no Wilcoxon signed-rank test has a p-value below 2/1024, which Holm's correction
over some thirty comparisons makes 0.06 whatever the data say. An AUBC is a mean over rounds and thousands of test
samples, so that normality of its differences is a mild assumption; how many seeds are above stands beside it.
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
# Below it no verdict is given: a test of three or four seeds hangs on the shape of what it cannot see.
MIN_SEEDS = 5
# Differences of decimal fractions that are equal on paper differ by less in floating point.
ROUNDING = 1e-9

BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Difference:
    """A paired difference over the seeds that both have.

    Attributes:
        n_seeds: How many seeds.
        mean: Of ours minus theirs; above 0 ours is better.
        low, high: 95 % bootstrap interval of the mean.
        p: Of a two-sided paired t-test; None of fewer than two seeds.
        n_above: Seeds on which ours is higher.
    """

    n_seeds: int
    mean: float
    low: float
    high: float
    p: float | None
    n_above: int


@dataclass(frozen=True)
class Comparison:
    """Two strategies on a dataset, in one of several comparisons that are made together.

    Attributes:
        ours, theirs: The strategies' labels.
        difference: Ours minus theirs.
        p_holm: The p-value as Holm's correction over all comparisons of at least five seeds has it; None of fewer.
    """

    ours: str
    theirs: str
    difference: Difference
    p_holm: float | None

    @property
    def winner(self) -> str | None:
        """Whose mean is significantly higher at 5 %; None if that is nobody's, or fewer than five seeds tell."""
        if self.p_holm is None or self.p_holm >= ALPHA:
            return None
        return self.ours if self.difference.mean > 0 else self.theirs


def compare_all(values: Mapping[str, BySeed]) -> list[Comparison]:
    """Compare each two strategies; Holm's correction is over all pairs with five seeds in common.

    Args:
        values: A measure on one dataset, such as AUBC, by strategy and seed; higher is better.
    """
    pairs = itertools.combinations(values, 2)
    return _correct([(ours, theirs, compare(values[ours], values[theirs])) for ours, theirs in pairs])


def compare_to(values: Mapping[str, BySeed], baseline: str) -> list[Comparison]:
    """Compare each strategy to a baseline; Holm's correction is over those with five seeds in common with it.

    Args:
        values: A measure on one dataset, such as AUBC, by strategy and seed; higher is better.
        baseline: The label of ``theirs``.

    Returns:
        A comparison for each strategy with a seed in common with the baseline; none where that is missing.
    """
    theirs = values.get(baseline, {})
    return _correct([(name, baseline, compare(own, theirs)) for name, own in values.items() if name != baseline])


def compare(ours: BySeed, theirs: BySeed) -> Difference | None:
    """Return the paired difference; None where there is no seed in common."""
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
    """Return the two-sided p-value that the mean difference is 0 (see `paired_t_tests`); None of a single one."""
    return float(paired_t_tests(differences[None])[0]) if len(differences) > 1 else None


def paired_t_tests(differences: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return for each row the two-sided p-value that its mean difference is 0.

    Where all of a row's differences are 0, that is 1. Where they are all the same otherwise, there is no spread to
    measure them by, as happens with small test sets; then it is that of the exact test which flips signs, 2 / 2**n.

    Args:
        differences: (tests, n), of at least two seeds.

    Returns:
        (tests,), in [0, 1].
    """
    from scipy.stats import ttest_1samp

    p = np.ones(len(differences))
    is_constant = np.ptp(differences, axis=1) <= ROUNDING
    p[is_constant & (np.abs(differences[:, 0]) > ROUNDING)] = 2.0 ** (1 - differences.shape[1])
    if not is_constant.all():
        p[~is_constant] = ttest_1samp(differences[~is_constant], 0.0, axis=1).pvalue
    return p


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p-values as Holm (1979) adjusts them for their number; None stays None and does not count."""
    order = sorted((p, number) for number, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, number) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        adjusted[number] = highest
    return adjusted


def _correct(found: Sequence[tuple[str, str, Difference | None]]) -> list[Comparison]:
    made = [(ours, theirs, difference) for ours, theirs, difference in found if difference is not None]
    # What too few seeds compare gets no verdict, and must not make those of others harder.
    adjusted = holm([difference.p if difference.n_seeds >= MIN_SEEDS else None for _, _, difference in made])
    return [Comparison(*parts, p_holm=p) for parts, p in zip(made, adjusted, strict=True)]
