"""Pools paired comparisons over settings; comparisons over seeds are the package's own."""

from collections.abc import Sequence

import numpy as np

from deepal_autoal import stream_seed
from deepal_autoal.statistics import Difference, compare, holm
from deepal_autoal.statistics.estimates import N_RESAMPLES
from deepal_autoal.statistics.paired import BySeed

__all__ = ["Difference", "compare", "holm", "pool"]


def pool(settings: Sequence[tuple[BySeed, BySeed]]) -> Difference | None:
    """Return the mean over settings of their mean paired differences.

    Seeds are resampled for all settings together, as the seed determines pools and initial sets of all settings on one
    dataset. Settings are not resampled: the interval is about these settings, not about others. There is no test.

    Args:
        settings: AUBC by seed of ours and of theirs; settings without a common seed are left out.

    Returns:
        ``n_seeds`` is the number of seeds in any setting, ``n_above`` the number of settings with a mean above 0.
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
    with np.errstate(invalid="ignore"):  # a setting with few seeds may have none in a resample, which is then ignored
        resampled = counts @ np.nan_to_num(values).T / (counts @ ~np.isnan(values).T)
    low, high = np.nanquantile(resampled.mean(axis=1), [0.025, 0.975])
    return Difference(
        len(seeds), float(means.mean()), float(low), float(high), None, int((means > 0).sum())
    )  # fmt: skip
