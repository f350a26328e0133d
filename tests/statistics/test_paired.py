"""Paired tests and Holm's correction against formulas and numbers computed by hand."""

import math

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_1samp, ttest_rel

from deepal_autoal.statistics import compare, compare_all, compare_to, holm
from deepal_autoal.statistics.paired import paired_t_test, paired_t_tests

pytestmark = pytest.mark.filterwarnings("error")


def test_t_test_matches_its_formula_and_the_printed_quantile():
    rng = np.random.default_rng(1)
    for n in (2, 5, 10):
        values = rng.normal(0.3, 1, n)
        t = values.mean() / (values.std(ddof=1) / math.sqrt(n))
        assert paired_t_test(values) == pytest.approx(2 * student.sf(abs(t), n - 1))
    # With five seeds |t| = 2.776 is significant at 5%, as in tables and the BADGE paper. Deviations (-2 ... 2) have
    # standard deviation sqrt(2.5), so t = sqrt(5) mean / sqrt(2.5) = sqrt(2) mean.
    deviations = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert paired_t_test(deviations + 2.777 / math.sqrt(2)) < 0.05 < paired_t_test(deviations + 2.775 / math.sqrt(2))
    assert paired_t_test(-deviations - 2.777 / math.sqrt(2)) < 0.05


def test_t_tests_of_many_rows_are_scipys():
    rows = np.random.default_rng(5).normal(0.01, 0.02, (40, 10))
    assert paired_t_tests(rows) == pytest.approx(ttest_1samp(rows, 0.0, axis=1).pvalue, rel=1e-14)


def test_differences_without_spread():
    rows = np.array([[0.0] * 5, [0.02] * 5, [-0.02] * 5])
    assert paired_t_tests(rows).tolist() == [1.0, 2 / 32, 2 / 32]
    # Equal on paper: 0.9 - 0.8 and 0.3 - 0.2 differ in the last bits, and 0.1 + 0.2 - 0.3 is not 0.
    assert paired_t_test(np.array([0.9 - 0.8, 0.3 - 0.2, 0.5 - 0.4])) == 0.25
    assert paired_t_test(np.array([0.1 + 0.2 - 0.3, 0.0])) == 1.0
    assert paired_t_test(np.array([0.5])) is None
    mixed = np.array([[0.0] * 3, [0.1, 0.2, 0.4]])
    assert paired_t_tests(mixed)[1] == pytest.approx(ttest_rel([0.1, 0.2, 0.4], [0, 0, 0]).pvalue)


def test_only_common_seeds_are_compared():
    ours, theirs = {0: 0.9, 1: 0.8, 2: 0.7, 5: 0.1}, {2: 0.72, 1: 0.75, 0: 0.8}
    difference = compare(ours, theirs)
    assert difference.n_seeds == 3 and difference.n_above == 2
    assert difference.mean == pytest.approx(0.13 / 3)
    assert difference.low == pytest.approx(-0.02) and difference.high == pytest.approx(0.1)
    assert difference.p == pytest.approx(ttest_rel([0.9, 0.8, 0.7], [0.8, 0.75, 0.72]).pvalue)
    assert compare({0: 0.5}, {1: 0.5}) is None
    same = compare({0: 0.1 + 0.2, 1: 0.5}, {0: 0.3, 1: 0.5})
    assert same.p == 1.0 and same.n_above == 0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([None]) == [None] and holm([]) == []


@pytest.fixture
def values():
    rng = np.random.default_rng(2)
    means = {"a": 0.8, "b": 0.7, "random": 0.6, "short": 0.1}
    found = {name: dict(enumerate(rng.normal(mean, 0.02, 6))) for name, mean in means.items()}
    return {**found, "short": {seed: found["short"][seed] for seed in range(4)}, "elsewhere": {99: 0.5}}


def test_all_pairs_are_corrected_together(values):
    comparisons = compare_all(values)
    assert [(c.ours, c.theirs) for c in comparisons] == [
        ("a", "b"), ("a", "random"), ("a", "short"), ("b", "random"), ("b", "short"), ("random", "short"),
    ]  # fmt: skip
    p = []
    for comparison in comparisons:
        if "short" in (comparison.ours, comparison.theirs):  # only four seeds: not tested and not counted
            assert comparison.p_holm is None
            continue
        seeds = [seed for seed in values[comparison.ours] if seed in values[comparison.theirs]]
        columns = [[values[name][seed] for seed in seeds] for name in (comparison.ours, comparison.theirs)]
        p.append(ttest_rel(*columns).pvalue)
    # Naive Holm: each is the largest (m - k) p among the p-values that are not larger.
    ranked = sorted(p)
    expected = [min(1, max((3 - k) * q for k, q in enumerate(ranked) if q <= own)) for own in p]
    assert [c.p_holm for c in comparisons if c.p_holm is not None] == pytest.approx(expected)
    assert [c.winner for c in comparisons] == ["a", "a", None, "b", None, None]
    back = compare_all(dict(reversed(values.items())))
    assert {c.winner for c in back} == {None, "a", "b"} and all(c.difference.n_seeds for c in back)


def test_comparisons_to_a_baseline_are_fewer(values):
    comparisons = compare_to(values, "random")
    assert [(c.ours, c.theirs) for c in comparisons] == [("a", "random"), ("b", "random"), ("short", "random")]
    assert comparisons[2].p_holm is None
    smaller, larger = sorted(comparisons[:2], key=lambda c: c.difference.p)
    assert smaller.p_holm == pytest.approx(2 * smaller.difference.p) and larger.p_holm >= larger.difference.p
    assert [c.winner for c in comparisons] == ["a", "b", None] and comparisons[0].difference.mean > 0
    assert compare_to(values, "none") == [] and compare_to({}, "random") == []


def test_few_seeds_give_neither_p_value_nor_winner():
    (comparison,) = compare_all({"a": {0: 0.9, 1: 0.91, 2: 0.92, 3: 0.9}, "b": dict.fromkeys(range(4), 0.1)})
    assert comparison.p_holm is None and comparison.winner is None
    (comparison,) = compare_all({"a": {0: 0.9}, "b": {0: 0.1}})
    assert comparison.p_holm is None and comparison.winner is None
