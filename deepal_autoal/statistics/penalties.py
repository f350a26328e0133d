"""The pairwise penalty matrix of BADGE."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepal_autoal.experiment.results import Results
from deepal_autoal.statistics.paired import ALPHA, MIN_SEEDS, paired_t_tests

# Accuracy by number of labels.
Curve = Mapping[int, float]


@dataclass(frozen=True)
class PenaltyMatrix:
    """How often each strategy beats each other strategy.

    Attributes:
        strategies: The labels of rows and columns, sorted.
        values: ``values[i][j]`` is how often i beats j: the share of checkpoints at which it does, summed over
            datasets.
        n_datasets: ``n_datasets[i][j]`` is the number of datasets on which both were compared, which ``values[i][j]``
            cannot exceed. If it differs between pairs, the means mix different datasets.
    """

    strategies: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    n_datasets: tuple[tuple[int, ...], ...]

    @property
    def column_means(self) -> tuple[float | None, ...]:
        """How often each strategy is beaten, averaged over those it was compared to; lower is better."""
        return tuple(
            self._mean([(row, column) for row in range(len(self.strategies))]) for column in range(len(self.strategies))
        )

    @property
    def row_means(self) -> tuple[float | None, ...]:
        """How often each strategy beats another, averaged over those it was compared to; higher is better."""
        return tuple(
            self._mean([(row, column) for column in range(len(self.strategies))]) for row in range(len(self.strategies))
        )

    @property
    def order(self) -> tuple[str, ...]:
        """The strategies that were compared: least beaten first, then those that beat most, then by name."""
        found = zip(self.strategies, self.column_means, self.row_means, strict=True)
        keys = [(lost, -won, name) for name, lost, won in found if lost is not None and won is not None]
        return tuple(name for _, _, name in sorted(keys))

    def _mean(self, cells: list[tuple[int, int]]) -> float | None:
        compared = [self.values[row][column] for row, column in cells if self.n_datasets[row][column]]
        return sum(compared) / len(compared) if compared else None


def penalty_matrix(results: Results) -> PenaltyMatrix:
    """Return the pairwise penalty matrix (Ash et al. 2020, BADGE).

    Of two strategies on a dataset, one loses 1 / (number of checkpoints) to the other at every checkpoint at which a
    two-sided paired t-test over their common seeds is significant at 5%. Checkpoints are the numbers of labels at
    which all these runs of both have an accuracy; the paper takes exponentially spaced ones, we take all. There is no
    correction for the number of tests: 5% of the checkpoints may be lost by chance.

    Two strategies with fewer than five common seeds, or without a common checkpoint, are not compared on the dataset.
    Pass the runs of one dataset to get its own matrix.
    """
    strategies = tuple(sorted({run.strategy for run in results.runs}))
    number = {name: place for place, name in enumerate(strategies)}
    values = np.zeros((len(strategies), len(strategies)))
    compared = np.zeros((len(strategies), len(strategies)), dtype=int)
    for dataset in results.datasets:
        runs = {
            name: {seed: dict(zip(run.n_labeled, run.accuracy, strict=True)) for seed, run in by_seed.items()}
            for name, by_seed in results.on(dataset).items()
        }
        for one, other in itertools.combinations(runs, 2):
            differences = _differences(runs[one], runs[other])
            if differences is None:
                continue
            is_sure = paired_t_tests(differences) < ALPHA
            is_above = differences.mean(axis=1) > 0
            i, j = number[one], number[other]
            values[i, j] += (is_sure & is_above).mean()
            values[j, i] += (is_sure & ~is_above).mean()
            compared[[i, j], [j, i]] += 1
    return PenaltyMatrix(strategies, tuple(map(tuple, values.tolist())), tuple(map(tuple, compared.tolist())))


def _differences(ours: Mapping[int, Curve], theirs: Mapping[int, Curve]) -> npt.NDArray[np.float64] | None:
    """Return ours minus theirs, (checkpoints, seeds), or None if the two cannot be compared."""
    seeds = sorted(set(ours) & set(theirs))
    if len(seeds) < MIN_SEEDS:
        return None
    curves = [by_seed[seed] for by_seed in (ours, theirs) for seed in seeds]
    checkpoints = sorted(set(curves[0]).intersection(*curves[1:]))
    if not checkpoints:
        return None
    accuracy = np.array([[curve[at] for at in checkpoints] for curve in curves])
    difference: npt.NDArray[np.float64] = (accuracy[: len(seeds)] - accuracy[len(seeds) :]).T
    return difference
