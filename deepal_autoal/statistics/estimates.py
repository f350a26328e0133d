"""A measure over seeds: mean, standard deviation, bootstrap interval."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepal_autoal.experiment.results import Results
from deepal_autoal.numerics.random_streams import numpy_stream

CONFIDENCE = 0.95
N_RESAMPLES = 9999


@dataclass(frozen=True)
class Estimate:
    """A measure over seeds.

    Attributes:
        n_seeds: Number of seeds.
        mean: The mean.
        std: Sample standard deviation; None for a single seed.
        low, high: 95% bootstrap interval of the mean (see `bootstrap_interval`).
    """

    n_seeds: int
    mean: float
    std: float | None
    low: float
    high: float


@dataclass(frozen=True)
class StrategyEstimates:
    """A strategy's measures on a dataset.

    Attributes:
        dataset: The dataset's label.
        strategy: The strategy's label.
        aubc: Area under the budget curve, in [0, 1].
        final_accuracy: Test accuracy after each run's last round, in [0, 1].
    """

    dataset: str
    strategy: str
    aubc: Estimate
    final_accuracy: Estimate


def estimate_all(results: Results) -> list[StrategyEstimates]:
    """Return AUBC and final accuracy of each strategy on each dataset, sorted by dataset and strategy."""
    return [
        StrategyEstimates(
            dataset, strategy,
            estimate([run.aubc for run in by_seed.values()]),
            estimate([run.final_accuracy for run in by_seed.values()]),
        )
        for dataset in results.datasets
        for strategy, by_seed in results.on(dataset).items()
    ]  # fmt: skip


def estimate(values: Sequence[float]) -> Estimate:
    """Return mean, standard deviation and interval of at least one value."""
    mean = statistics.fmean(values)
    low, high = bootstrap_interval(values)
    # If all values are equal, resampled means may still differ from the mean in the last bit.
    return Estimate(
        len(values), mean, statistics.stdev(values) if len(values) > 1 else None, min(low, mean), max(high, mean)
    )


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95% bootstrap interval of a mean, from a fixed stream.

    It is the percentile interval, which is defined for any values, even two or equal ones. For few values it is too
    narrow; for a single one it is that value, which says nothing about the spread.
    """
    return _interval(tuple(map(float, values)))


# A benchmark rebuilds its tables after every run, when most strategies' values have not changed.
@functools.lru_cache(maxsize=2**14)
def _interval(values: tuple[float, ...]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    from scipy.stats import bootstrap

    interval = bootstrap(
        (np.array(values),), np.mean, n_resamples=N_RESAMPLES, confidence_level=CONFIDENCE, method="percentile",
        random_state=numpy_stream("benchmark", "bootstrap"),
    ).confidence_interval  # fmt: skip
    return float(interval.low), float(interval.high)
