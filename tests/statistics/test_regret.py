"""Regret to oracles, computed by hand, and that nothing else counts them."""

import pytest

from deepal_autoal.experiment.results import FinishedRun, Results
from deepal_autoal.statistics import find_regrets, without_oracles


def finished(strategy, seed, *accuracy):
    seconds = ({"train": 1.0, "query": 0.0},) * len(accuracy)
    return FinishedRun("d", strategy, seed, tuple(range(10, 10 * len(accuracy) + 1, 10)), accuracy, seconds)


def test_regret_is_the_mean_paired_difference():
    results = Results((
        finished("oracle-boss", 0, 0.5, 0.9, 0.9),  # AUBC 0.8
        finished("oracle-boss", 1, 0.5, 0.7, 0.7),  # 0.65
        finished("oracle-boss", 2, 0.1, 0.1, 0.1),
        finished("margin", 0, 0.5, 0.7, 0.9),  # 0.7
        finished("margin", 1, 0.5, 0.7, 0.7),  # 0.65
        finished("random", 1, 0.5, 0.8, 0.7),  # 0.7
    ))  # fmt: skip
    found = {item.strategy: item for item in find_regrets(results)}
    assert set(found) == {"margin", "random"} and {item.oracle for item in found.values()} == {"oracle-boss"}
    margin, random = found["margin"].difference, found["random"].difference
    assert margin.mean == pytest.approx((0.1 + 0.0) / 2) and margin.n_seeds == 2
    assert (margin.low, margin.high) == (pytest.approx(0.0), pytest.approx(0.1))
    assert random.mean == random.low == random.high == pytest.approx(-0.05) and random.n_seeds == 1
    assert {run.strategy for run in without_oracles(results).runs} == {"margin", "random"}


def test_oracles_have_regrets_to_each_other_and_none_without_common_seeds():
    runs = (finished("oracle-best", 0, 0.5), finished("oracle-boss", 0, 0.5), finished("margin", 1, 0.5))
    found = [(item.strategy, item.oracle, item.difference.mean) for item in find_regrets(Results(runs))]
    assert found == [("oracle-best", "oracle-boss", 0.0), ("oracle-boss", "oracle-best", 0.0)]
