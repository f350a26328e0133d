"""Means, deviations and intervals against numbers computed by hand."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from deepal_autoal.experiment.results import Results
from deepal_autoal.numerics.random_streams import numpy_stream
from deepal_autoal.statistics import bootstrap_interval, estimate, estimate_all

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(
    "values, low, high",
    [
        # Means of resamples of (0.2, 0.4): 0.2, 0.3, 0.4 with probabilities 1/4, 1/2, 1/4.
        ([0.2, 0.4], 0.2, 0.4),
        # Of (0, 0, 1): 1 with probability 1/27 = 3.7%, inside 95% but outside 90%; 0 with 8/27.
        ([0.0, 0.0, 1.0], 0.0, 1.0),
        # Of (0, 0, 0, 0, 1): at least 0.8 with 0.67%, inside 99% only; at least 0.6 with 5.8%.
        ([0.0, 0.0, 0.0, 0.0, 1.0], 0.0, 0.6),
        ([0.7, 0.7, 0.7], 0.7, 0.7),
        ([0.7], 0.7, 0.7),
    ],
)
def test_bootstrap_interval(values, low, high):
    assert bootstrap_interval(values) == pytest.approx((low, high))


@pytest.mark.parametrize("n", [2, 5, 10, 31])
def test_bootstrap_interval_is_scipys_on_the_same_stream(n):
    values = np.random.default_rng(n).normal(0.7, 0.05, n)
    expected = bootstrap(
        (values,), np.mean, n_resamples=9999, confidence_level=0.95, method="percentile",
        random_state=numpy_stream("benchmark", "bootstrap"),
    ).confidence_interval  # fmt: skip
    assert bootstrap_interval(values.tolist()) == pytest.approx((expected.low, expected.high), rel=0, abs=5e-16)


def test_bootstrap_interval_uses_its_own_fixed_stream():
    values = list(np.random.default_rng(3).normal(size=9))
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = bootstrap_interval(values)
    assert (np.random.get_state()[1] == before).all()
    np.random.seed(1)
    assert bootstrap_interval(values) == first
    half = 1.96 * np.std(values) / 3
    assert first == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=0.1 * half)


def test_estimate_by_hand():
    found = estimate([0.2, 0.4, 0.6])
    assert (found.n_seeds, found.mean, found.std) == (3, pytest.approx(0.4), pytest.approx(0.2))
    assert found.low == pytest.approx(0.2) and found.high == pytest.approx(0.6)  # 1/27 each
    alone = estimate([0.7])
    assert (alone.n_seeds, alone.mean, alone.std, alone.low, alone.high) == (1, 0.7, None, 0.7, 0.7)
    equal = estimate([0.1] * 7)  # resampled means differ in the last bit
    assert equal.std == pytest.approx(0, abs=1e-12) and equal.low <= equal.mean <= equal.high


def test_area_and_final_accuracy_of_each_strategy(make_run):
    runs = [
        make_run("b", 0, [0.2, 0.4, 0.8], n_labeled=[10, 20, 40]),  # (10 x 0.3 + 20 x 0.6) / 30
        make_run("b", 1, [0.5]),  # one round: its accuracy
        make_run("a", 0, [0.0, 1.0], dataset="c"),
    ]
    first, second = estimate_all(Results(tuple(runs)))
    assert (first.dataset, first.strategy, second.dataset, second.strategy) == ("c", "a", "d", "b")
    assert first.aubc.mean == 0.5 and first.final_accuracy.mean == 1.0 and first.aubc.std is None
    assert (second.aubc.low, second.aubc.high) == pytest.approx((0.5, 0.5)) and second.aubc.n_seeds == 2
    assert second.final_accuracy.mean == pytest.approx(0.65)
    assert second.final_accuracy.std == pytest.approx(0.3 / 2**0.5)
    assert (second.final_accuracy.low, second.final_accuracy.high) == pytest.approx((0.5, 0.8))
    assert estimate_all(Results(())) == []
