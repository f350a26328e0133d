"""Friedman's and Wilcoxon's tests against Demšar's published example, and against trying all signs."""

import itertools

import numpy as np
import pytest
from scipy.stats import chi2, friedmanchisquare, rankdata, wilcoxon

from deepal_autoal.experiment.results import Results
from deepal_autoal.statistics import mean_areas, rank
from deepal_autoal.statistics.ranking import _cliques, signed_rank_test

pytestmark = pytest.mark.filterwarnings("error")

# Table 6 of Demšar (2006): AUC of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 data sets. On the 13th the last two are
# both 0.975, but ranked 2 and 3 by digits that are not printed.
NAMES = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
TABLE = (
    (0.763, 0.768, 0.771, 0.798), (0.599, 0.591, 0.590, 0.569), (0.954, 0.971, 0.968, 0.967),
    (0.628, 0.661, 0.654, 0.657), (0.882, 0.888, 0.886, 0.898), (0.936, 0.931, 0.916, 0.931),
    (0.661, 0.668, 0.609, 0.685), (0.583, 0.583, 0.563, 0.625), (0.775, 0.838, 0.866, 0.875),
    (1.000, 1.000, 1.000, 1.000), (0.940, 0.962, 0.965, 0.962), (0.619, 0.666, 0.614, 0.669),
    (0.972, 0.981, 0.9751, 0.975), (0.957, 0.978, 0.946, 0.970),
)  # fmt: skip


@pytest.fixture
def published():
    return rank({f"set {number:02}": dict(zip(NAMES, row, strict=True)) for number, row in enumerate(TABLE)})


def by_all_signs(differences):
    """Return the signed-rank test's two-sided p-value by trying all signs of the differences other than 0."""
    found = [value for value in differences if value]
    ranks = rankdata(np.abs(found))
    sums = [sum(np.array(signs) * ranks) for signs in itertools.product((-1, 1), repeat=len(found))]
    own = sum(np.sign(found) * ranks)
    one_sided = min(np.mean([value >= own for value in sums]), np.mean([value <= own for value in sums]))
    return min(1.0, 2 * one_sided)


def test_mean_ranks_and_friedman_as_published(published):
    assert published.strategies == ("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")
    assert published.mean_ranks == pytest.approx((1.964, 2.000, 2.893, 3.143), abs=5e-4)
    # The paper's 9.28 is not corrected for ties, but scipy's is: one tie of four and three of two in 14 x (64 - 4).
    assert published.friedman.statistic * (1 - (60 + 3 * 6) / (14 * 60)) == pytest.approx(9.28, abs=0.01)
    assert published.friedman.p == pytest.approx(chi2.sf(published.friedman.statistic, 3))
    expected = friedmanchisquare(*np.array(TABLE).T)
    assert published.friedman.statistic == pytest.approx(expected.statistic, rel=1e-14)
    assert published.friedman.p == pytest.approx(expected.pvalue, rel=1e-14)
    assert published.left_out == () and len(published.datasets) == 14


def test_pairs_of_the_published_table(published):
    names = published.strategies
    assert [(pair.better, pair.worse) for pair in published.pairs] == list(itertools.combinations(names, 2))
    columns = dict(zip(NAMES, np.array(TABLE).T, strict=True))
    p = [by_all_signs(np.round(columns[a] - columns[b], 9)) for a, b in itertools.combinations(names, 2)]
    assert [pair.p for pair in published.pairs] == pytest.approx(p)
    ranked = sorted(p)
    expected = [min(1, max((6 - k) * q for k, q in enumerate(ranked) if q <= own)) for own in p]
    assert [pair.p_holm for pair in published.pairs] == pytest.approx(expected)
    # The first and the last do not differ, but no bar may span the two between them that do.
    assert [(pair.better, pair.worse) for pair in published.pairs if pair.is_different] == [("C4.5+m", "C4.5")]
    assert published.cliques == (("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5"))
    assert published.smallest_p_holm == 6 * 2 / 2**14 and published.can_tell and published.n_datasets_needed == 8


@pytest.mark.parametrize("n", [2, 5, 8])
def test_signed_ranks_without_ties_match_scipys_exact_test(n):
    differences = np.random.default_rng(n).normal(0.5, 1, n)
    assert signed_rank_test(differences) == pytest.approx(wilcoxon(differences, method="exact").pvalue)
    assert signed_rank_test(-differences) == pytest.approx(signed_rank_test(differences))


def test_signed_ranks_with_ties_and_zeros():
    rng = np.random.default_rng(0)
    for _ in range(20):
        differences = rng.integers(-2, 4, size=7) / 10
        assert signed_rank_test(differences) == pytest.approx(by_all_signs(differences))
    assert signed_rank_test([0.0] * 6) == 1.0 and signed_rank_test([]) == 1.0 and signed_rank_test([0.1, 0.0]) == 1.0
    # 0.3 - 0.2 is below 0.1 in the last bits, but shares its rank.
    rest = [0.4, 0.5, 0.6, 0.7]
    assert signed_rank_test([0.2 - 0.3, 0.1, *rest]) == by_all_signs([-0.1, 0.1, *rest]) == 6 / 64


def test_fewer_than_six_datasets_find_no_difference():
    assert signed_rank_test([1, 2, 3, 4, 5]) == 2 / 32 > 0.05 > signed_rank_test([1, 2, 3, 4, 5, 6]) == 2 / 64
    for n, can_tell in ((5, False), (6, True)):
        found = rank({str(number): {"a": 0.9 + number / 100, "b": 0.5} for number in range(n)})
        assert found.can_tell is can_tell and found.n_datasets_needed == 6 and found.friedman is None
        assert found.smallest_p_holm == found.pairs[0].p_holm == 2.0 ** (1 - n)
        assert found.pairs[0].is_different is can_tell
        assert found.cliques == (() if can_tell else (("a", "b"),))
    # More strategies need more datasets: the first of three pairs is tested at a third of 5%.
    three = {str(number): {"a": 0.9 + number / 100, "b": 0.5, "c": 0.1} for number in range(7)}
    assert rank(three).n_datasets_needed == 7 and rank(three).pairs[0].is_different
    assert not rank({key: three[key] for key in "012345"}).can_tell


def test_many_datasets():
    """Without ties the test is exact, as with few datasets; with ties it is nearly exact."""
    tied = np.round(np.random.default_rng(0).normal(0.5, 1, 14), 1) + 0.05
    assert len(set(np.abs(tied))) < 14 and (tied != 0).all()
    assert signed_rank_test(tied) == pytest.approx(by_all_signs(tied), abs=0.01)
    distinct = np.random.default_rng(0).normal(0.4, 1, 14)
    assert signed_rank_test(distinct) == pytest.approx(by_all_signs(distinct))


def test_nothing_is_different_if_friedman_finds_nothing():
    # b beats c on all eight datasets, with a first or last: mean ranks 1.5, 2 and 2.5.
    scores = {str(number): {"a": 0.9 if number % 2 else 0.1, "b": 0.5 + number / 1000, "c": 0.4} for number in range(8)}
    found = rank(scores)
    # Friedman by hand: 12 x 8 / (3 x 4) x (0.25 + 0 + 0.25) = 4 with two degrees of freedom: p = exp(-2).
    assert found.mean_ranks == (1.5, 2.0, 2.5)
    assert found.friedman.statistic == pytest.approx(4.0) and found.friedman.p == pytest.approx(np.exp(-2))
    assert min(pair.p_holm for pair in found.pairs) == 3 * 2 / 2**8 < 0.05
    assert not any(pair.is_different for pair in found.pairs) and found.cliques == (("b", "a", "c"),)


def test_ties_everywhere():
    found = rank({str(number): {"a": 0.3 + 1e-12, "b": 0.3, "c": 0.3} for number in range(8)})
    assert found.mean_ranks == (2.0, 2.0, 2.0) and found.friedman.p == 1.0
    assert {pair.p_holm for pair in found.pairs} == {1.0} and found.cliques == (("a", "b", "c"),)


def test_cliques_are_longest_groups_of_neighbors(published):
    def cliques(names, *different):
        pairs = [
            type(published.pairs[0])(a, b, 0.0, 0.0, a + b in different) for a, b in itertools.combinations(names, 2)
        ]
        return ["".join(clique) for clique in _cliques(names, pairs)]

    assert cliques("abcd") == ["abcd"]
    assert cliques("abcd", "ad") == ["abc", "bcd"]
    assert cliques("abcd", "ac", "ad", "bd") == ["ab", "bc", "cd"]
    assert cliques("abcd", "ab", "ac", "ad") == ["bcd"]
    assert cliques("abc", "ab", "ac", "bc") == []
    assert cliques("abcd", "bc") == ["ab", "cd"]  # a and d do not differ, but b and c between them do


def test_what_can_be_ranked(make_run):
    assert rank({}) is None and rank({"d": {"a": 0.5}}) is None and rank({"d": {"a": 1}, "e": {"b": 1}}) is None
    one = rank({"d": {"a": 0.5, "b": 0.6, "c": 0.4}})
    assert one.strategies == ("b", "a", "c") and one.mean_ranks == (1, 2, 3) and one.friedman is None
    assert one.smallest_p_holm == 1.0 and not one.can_tell and one.cliques == (("b", "a", "c"),)
    partly = rank({"d": {"a": 0.5, "b": 0.6, "c": 0.4}, "e": {"a": 0.5, "b": 0.6}})
    assert partly.strategies == ("b", "a") and partly.left_out == ("c",)


def test_scores_are_means_over_common_seeds(make_run):
    runs = [
        make_run("a", 0, [0.5]), make_run("a", 1, [0.7]), make_run("a", 2, [0.0]),
        make_run("b", 1, [0.6]), make_run("b", 0, [0.8]),
        make_run("c", 2, [0.9]),  # not on e: does not narrow the seeds, and has none of them
        make_run("a", 0, [0.1], "e"), make_run("b", 0, [0.2], "e"),
        make_run("a", 0, [0.1], "f"), make_run("b", 1, [0.2], "f"),  # no seed in common
    ]  # fmt: skip
    scores = mean_areas(Results(tuple(runs)))
    assert scores == {"d": {"a": pytest.approx(0.6), "b": pytest.approx(0.7)}, "e": {"a": 0.1, "b": 0.2}}
    assert mean_areas(Results(())) == {}
