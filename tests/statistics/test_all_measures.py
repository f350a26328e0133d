"""Odd studies: one of everything, ties everywhere, missing runs, short runs.

They give no warning and no NaN, and the order of runs does not matter.
"""

import dataclasses
import math

import numpy as np
import pytest

from deepal_autoal import statistics
from deepal_autoal.experiment.results import Results

pytestmark = pytest.mark.filterwarnings("error")


def everything(results):
    """Return the results of all measures."""
    datasets = results.datasets
    comparisons = [statistics.compare_all(results.areas(dataset)) for dataset in datasets]
    penalties = statistics.penalty_matrix(results)
    return [
        statistics.estimate_all(results), comparisons,
        [statistics.significant_wins_ties_losses(found) for found in comparisons],
        [statistics.wins_ties_losses(results.areas(dataset)) for dataset in datasets],
        penalties, penalties.column_means, penalties.row_means, penalties.order,
        statistics.rank(statistics.mean_areas(results)), statistics.label_savings(results),
        [statistics.relative_phase_times(results.on(dataset)) for dataset in datasets],
        statistics.find_cautions(results),
    ]  # fmt: skip


def numbers(value):
    """Yield the numbers of nested data."""
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from numbers(part)
    elif not isinstance(value, str | None):
        yield value


@pytest.fixture
def study(make_run):
    """Return a function that creates a study of random sizes, with few levels of accuracy and some runs missing."""

    def make(number):
        rng = np.random.default_rng(number)
        n_datasets, n_strategies, n_seeds, n_rounds = rng.integers(1, [7, 5, 8, 5])
        levels = (2, 10, 1000)[number % 3]
        return [
            make_run(
                str(name), seed,
                (rng.integers(0, levels, n_rounds - (n_rounds > 1 and rng.random() < 0.1)) / levels).tolist(),
                f"d{dataset}", train=float(rng.integers(0, 2)), query=0.0,
            )
            for dataset in range(n_datasets)
            for name in rng.permutation(["random", "entropy", "x", "y"])[:n_strategies]
            for seed in range(n_seeds)
            if rng.random() >= 0.1 * (number % 2)
        ]  # fmt: skip

    return make


@pytest.mark.parametrize("number", range(12))
def test_any_study(study, number):
    runs = study(number)
    found = everything(Results(tuple(runs)))
    assert all(math.isfinite(value) for value in numbers(found))
    assert repr(found) == repr(everything(Results(tuple(runs[::-1]))))


def test_identical_runs(make_run):
    runs = [make_run(name, seed, [0.5, 0.1 + 0.2], f"d{dataset}") for name in ("random", "a", "b") for seed in range(10)
            for dataset in range(7)]  # fmt: skip
    results = Results(tuple(runs))
    comparisons = statistics.compare_all(results.areas("d0"))
    assert {comparison.p_holm for comparison in comparisons} == {1.0}
    assert statistics.penalty_matrix(results).column_means == (0.0, 0.0, 0.0)
    assert not any(pair.is_different for pair in statistics.rank(statistics.mean_areas(results)).pairs)
    assert [caution.kind for caution in statistics.find_cautions(results)] == ["like-baseline"] * 7
