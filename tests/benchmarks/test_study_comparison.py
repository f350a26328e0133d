import numpy as np
import pytest
from comparison import compare, holm, pool
from scipy.stats import false_discovery_control, ttest_rel


def test_holm_by_hand():
    # Sorted: 3 x 0.01, 2 x 0.03, 1 x 0.04, which may not be below the one before.
    assert holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
    p = [0.001, 0.2, 0.013, 0.04, 0.0004]
    assert all(a >= b for a, b in zip(holm(p), false_discovery_control(p), strict=True))


def test_only_common_seeds_are_compared():
    ours, theirs = {0: 0.9, 1: 0.8, 2: 0.7, 5: 0.1}, {2: 0.72, 1: 0.75, 0: 0.8}
    difference = compare(ours, theirs)
    assert difference.n_seeds == 3 and difference.n_above == 2
    assert difference.mean == pytest.approx(0.13 / 3)
    assert -0.02 - 1e-9 <= difference.low < difference.mean < difference.high <= 0.1 + 1e-9
    assert difference.p == pytest.approx(ttest_rel([0.9, 0.8, 0.7], [0.8, 0.75, 0.72]).pvalue)
    back = compare(theirs, ours)
    assert back.mean == pytest.approx(-difference.mean) and back.p == pytest.approx(difference.p)


def test_differences_in_edge_cases():
    assert compare({0: 0.5}, {1: 0.5}) is None
    alone = compare({0: 0.5}, {0: 0.25})
    assert alone.p is None and alone.mean == alone.low == alone.high == 0.25
    same = compare({0: 0.5, 1: 0.6}, {0: 0.5, 1: 0.6})
    assert same.p == 1.0 and same.mean == 0 and same.n_above == 0


def test_pooled_mean_is_over_settings_not_over_runs():
    zero = dict.fromkeys(range(10), 0.0)
    many, few = dict.fromkeys(range(10), 0.1), dict.fromkeys(range(2), -0.02)
    difference = pool([(many, zero), (few, zero), ({}, zero)])
    assert difference.mean == pytest.approx(0.04) and difference.n_seeds == 10
    assert difference.n_above == 1
    assert difference.low == pytest.approx(0.04) and difference.high == pytest.approx(0.04)
    assert pool([({}, zero)]) is None


def test_pooled_interval_resamples_seeds_of_all_settings_together():
    rng = np.random.default_rng(0)
    zero = dict.fromkeys(range(10), 0.0)
    one = dict(enumerate(rng.normal(0.1, 0.05, 10)))
    opposite = {seed: 0.2 - value for seed, value in one.items()}
    difference = pool([(one, zero), (opposite, zero)])
    assert difference.high - difference.low < 1e-9  # on each seed, one setting gains what the other loses
    twice, once = pool([(one, zero), (one, zero)]), compare(one, zero)
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high), abs=0.005)
