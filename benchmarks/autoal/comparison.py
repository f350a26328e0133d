"""Paired comparisons over seeds, and over settings.

Tests are paired t-tests: of ten seeds no Wilcoxon signed-rank test has a p-value below 2/1024, which Holm's correction
over some thirty comparisons makes 0.06 whatever the data say. An AUBC is a mean over rounds and thousands of test
samples, so that normality of its differences is a mild assumption; how many seeds are above is shown beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deepal_autoal import stream_seed
from deepal_autoal.benchmark.comparison import bootstrap_interval

N_RESAMPLES = 9999
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


def compare(ours: BySeed, theirs: BySeed) -> Difference | None:
    """Return the paired difference; None where there is no seed in common."""
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return None
    values = np.array([ours[seed] - theirs[seed] for seed in seeds])
    low, high = bootstrap_interval(values.tolist())
    mean = float(values.mean())
    return Difference(
        len(seeds), mean, min(low, mean), max(high, mean), paired_t_test(values), int((values > 0).sum())
    )  # fmt: skip


def paired_t_test(differences: np.ndarray) -> float | None:
    """Return the two-sided p-value that the mean difference is 0; 1 where all of them are."""
    if len(differences) < 2:
        return None
    if np.all(differences == differences[0]):
        return 1.0 if differences[0] == 0 else 0.0
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p-values as Holm (1979) adjusts them for their number; None stays None and does not count."""
    order = sorted((p, number) for number, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, number) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        adjusted[number] = highest
    return adjusted


def pool(settings: Sequence[tuple[BySeed, BySeed]]) -> Difference | None:
    """Return the mean over settings of their mean paired differences.

    Seeds are resampled for all settings at once, as pools and initial sets of settings on one dataset go by the seed.
    Settings are not resampled: the interval is about these settings, not about others. There is no test.

    Args:
        settings: AUBC by seed of ours and of theirs; settings without a common seed are left out.

    Returns:
        ``n_seeds`` is the number of seeds in any setting, ``n_above`` that of settings whose mean is above 0.
    """
    differences = [{seed: ours[seed] - theirs[seed] for seed in set(ours) & set(theirs)} for ours, theirs in settings]
    differences = [by_seed for by_seed in differences if by_seed]
    if not differences:
        return None
    seeds = sorted(set().union(*differences))
    values = np.array([[by_seed.get(seed, np.nan) for seed in seeds] for by_seed in differences])
    means = np.nanmean(values, axis=1)
    rng = np.random.default_rng(stream_seed("study", "pooled"))
    draws = rng.integers(len(seeds), size=(N_RESAMPLES, len(seeds)))
    counts = np.stack([(draws == number).sum(axis=1) for number in range(len(seeds))], axis=1)
    with np.errstate(invalid="ignore"):  # a setting of few seeds may have none in a resample, which then counts not
        resampled = counts @ np.nan_to_num(values).T / (counts @ ~np.isnan(values).T)
    low, high = np.nanquantile(resampled.mean(axis=1), [0.025, 0.975])
    return Difference(
        len(seeds), float(means.mean()), float(low), float(high), None, int((means > 0).sum())
    )  # fmt: skip
