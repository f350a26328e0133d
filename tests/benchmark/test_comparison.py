"""Intervals, wins and times against numbers worked out by hand."""

import numpy as np
import pytest

from deepal_autoal.benchmark.comparison import bootstrap_interval, relative_times, wins_ties_losses


@pytest.mark.parametrize(
    "values, low, high",
    [
        # Means of resamples of (0.2, 0.4): 0.2, 0.3, 0.4 with probabilities 1/4, 1/2, 1/4.
        ([0.2, 0.4], 0.2, 0.4),
        # Of (0, 0, 1): 1 with probability 1/27 = 3.7 %, inside 95 % but outside 90 %; 0 with 8/27.
        ([0.0, 0.0, 1.0], 0.0, 1.0),
        # Of (0, 0, 0, 0, 1): at least 0.8 with 0.67 %, inside 99 % only; at least 0.6 with 5.8 %.
        ([0.0, 0.0, 0.0, 0.0, 1.0], 0.0, 0.6),
        ([0.7, 0.7, 0.7], 0.7, 0.7),
        ([0.7], 0.7, 0.7),
    ],
)
def test_bootstrap_interval(values, low, high):
    assert bootstrap_interval(values) == pytest.approx((low, high))


def test_bootstrap_interval_is_from_a_fixed_stream_of_its_own():
    values = list(np.random.default_rng(3).normal(size=9))
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = bootstrap_interval(values)
    assert (np.random.get_state()[1] == before).all()
    np.random.seed(1)
    assert bootstrap_interval(values) == first
    half = 1.96 * np.std(values) / 3
    assert first == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=0.1 * half)


def test_wins_ties_and_losses_by_the_margin_of_half_a_point():
    areas = {
        "a": {0: 0.900, 1: 0.900, 2: 0.900},
        "b": {0: 0.905, 1: 0.906, 2: 0.800},  # a tie (exactly the margin), a win, a loss against a
        "c": {1: 0.902},  # one seed in common with the others: ties both
    }
    assert wins_ties_losses(areas) == {"a": (1, 2, 1), "b": (1, 2, 1), "c": (0, 2, 0)}
    assert wins_ties_losses({"a": {0: 0.5}}) == {"a": (0, 0, 0)}
    assert wins_ties_losses({"a": {0: 0.5}, "b": {1: 0.9}}) == {"a": (0, 0, 0), "b": (0, 0, 0)}


def test_relative_times_over_common_seeds():
    seconds = {"base": {0: 2.0, 1: 4.0}, "slow": {0: 3.0, 1: 9.0, 2: 1000.0}, "elsewhere": {5: 1.0}}
    assert relative_times(seconds, "base") == {"base": 1.0, "slow": 2.0, "elsewhere": None}
    assert relative_times(seconds, "entropy") == {"base": None, "slow": None, "elsewhere": None}
