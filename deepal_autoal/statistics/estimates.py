"""A measure over seeds: mean, standard deviation, bootstrap interval."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepal_autoal.experiment.results import Results
from deepal_autoal.numerics.random_streams import numpy_stream

# Share of the resampled means on each side of a 95% interval.
TAIL = 0.025
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
        worst_group: Likewise, of the worst group; None unless all runs have groups.
        plain_aubc: Area under the budget curve of plain models on the same labels; None unless all runs recorded them.
    """

    dataset: str
    strategy: str
    aubc: Estimate
    final_accuracy: Estimate
    worst_group: Estimate | None = None
    plain_aubc: Estimate | None = None


def estimate_all(results: Results) -> list[StrategyEstimates]:
    """Return AUBC and final accuracy of each strategy on each dataset, sorted by dataset and strategy."""
    return [
        StrategyEstimates(
            dataset, strategy,
            estimate([run.aubc for run in by_seed.values()]),
            estimate([run.final_accuracy for run in by_seed.values()]),
            _of_all([run.worst_group for run in by_seed.values()]),
            _of_all([run.plain_aubc for run in by_seed.values()]),
        )
        for dataset in results.datasets
        for strategy, by_seed in results.on(dataset).items()
    ]  # fmt: skip


def _of_all(values: Sequence[float | None]) -> Estimate | None:
    known = [value for value in values if value is not None]
    return estimate(known) if len(known) == len(values) else None


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
    # Not a matrix product: BLAS may add in another order with another number of threads.
    sums = np.einsum("j,ji->i", np.array(values), _resample_counts(len(values)))
    low, high = _quantiles(sums, (TAIL, 1 - TAIL))
    return low / len(values), high / len(values)


# All intervals of a report share the resamples; a study has few different numbers of seeds.
@functools.lru_cache(maxsize=4)
def _resample_counts(n: int) -> npt.NDArray[np.float64]:
    """Return how often each of n values is in each resample, (n, N_RESAMPLES)."""
    drawn = numpy_stream("benchmark", "bootstrap").integers(0, n, size=(N_RESAMPLES, n))
    places = drawn + n * np.arange(N_RESAMPLES)[:, None]
    counts = np.bincount(places.ravel(), minlength=N_RESAMPLES * n).reshape(N_RESAMPLES, n)
    return np.ascontiguousarray(counts.T, dtype=np.float64)


def _quantiles(values: npt.NDArray[np.float64], shares: Sequence[float]) -> list[float]:
    """Return quantiles, linear between order statistics as in `numpy.quantile`, which takes several times as long."""
    places = [share * (len(values) - 1) for share in shares]
    below = [math.floor(place) for place in places]
    ordered = np.partition(values, [*below, *(number + 1 for number in below)])
    return [
        float(ordered[number] + (ordered[number + 1] - ordered[number]) * (place - number))
        for place, number in zip(places, below, strict=True)
    ]
