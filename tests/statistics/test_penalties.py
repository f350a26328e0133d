"""BADGE's penalty matrix against a matrix computed by hand, and against plain loops."""

import math

import pytest
from scipy.stats import ttest_rel

from deepal_autoal.experiment.results import Results
from deepal_autoal.statistics import penalty_matrix

pytestmark = pytest.mark.filterwarnings("error")

DEVIATIONS = (-0.02, -0.01, 0.0, 0.01, 0.02)


def above(base, t):
    """Return five accuracies over a constant base whose paired t statistic is t.

    The deviations' standard deviation is 0.01 sqrt(2.5), so t = sqrt(5) mean / that = mean sqrt(2) / 0.01.
    """
    return [base + deviation + 0.01 * t / math.sqrt(2) for deviation in DEVIATIONS]


def runs_of(make_run, strategy, columns, dataset="d", **more):
    """Return runs of five seeds from each round's accuracies over seeds."""
    return [make_run(strategy, seed, [column[seed] for column in columns], dataset, **more) for seed in range(5)]


def test_by_hand(make_run):
    """The two-sided critical value with four degrees of freedom is 2.776: t = 2.7 is a tie, 2.9 a win."""
    flat = [[0.5] * 5] * 4
    runs = [
        # On d, four checkpoints: a beats b at two of them, loses one, ties one.
        *runs_of(make_run, "a", [above(0.5, 2.7), above(0.5, 2.9), above(0.5, 4.0), above(0.5, -2.9)]),
        *runs_of(make_run, "b", flat),
        # c equals b: differences of 0 to b, and b's differences to a.
        *runs_of(make_run, "c", flat),
        # On e, one checkpoint: b beats a. c is missing.
        *runs_of(make_run, "a", [[0.5] * 5], "e"),
        *runs_of(make_run, "b", [above(0.5, 3.0)], "e"),
    ]
    matrix = penalty_matrix(Results(tuple(runs)))
    assert matrix.strategies == ("a", "b", "c")
    assert matrix.values == ((0.0, 0.5, 0.5), (1.25, 0.0, 0.0), (0.25, 0.0, 0.0))
    assert matrix.n_datasets == ((0, 2, 1), (2, 0, 1), (1, 1, 0))
    assert matrix.column_means == (0.75, 0.25, 0.25) and matrix.row_means == (0.5, 0.625, 0.125)
    assert matrix.order == ("b", "c", "a")
    alone = penalty_matrix(Results(tuple(run for run in runs if run.dataset == "e")))
    assert alone.values == ((0.0, 0.0), (1.0, 0.0)) and alone.order == ("b", "a")


def test_matches_plain_loops(noisy_results):
    matrix = penalty_matrix(noisy_results)
    for i, one in enumerate(matrix.strategies):
        for j, other in enumerate(matrix.strategies):
            total = 0.0
            for dataset in ("d", "e"):
                found = {(run.strategy, run.seed): run for run in noisy_results.runs if run.dataset == dataset}
                seeds = [seed for seed in range(7) if (one, seed) in found and (other, seed) in found]
                n_rounds = 4 if dataset == "e" and "margin" in (one, other) else 6  # one of margin's runs stopped early
                for place in range(n_rounds):
                    ours, theirs = ([found[name, seed].accuracy[place] for seed in seeds] for name in (one, other))
                    if one != other and ttest_rel(ours, theirs).pvalue < 0.05 and sum(ours) > sum(theirs):
                        total += 1 / n_rounds
            assert matrix.values[i][j] == pytest.approx(total)
    assert 0.5 < matrix.values[0][2] < 2 and matrix.order[0] == "entropy"


def test_only_where_label_counts_agree(make_run):
    high, low = [above(0.9, 0)] * 3, [above(0.5, 0)] * 3
    runs = [
        *runs_of(make_run, "a", high, n_labeled=[10, 20, 30]),
        *runs_of(make_run, "b", [[value * 0.5 for value in column] for column in high], n_labeled=[5, 20, 40]),
        *runs_of(make_run, "c", low, n_labeled=[1, 2, 3]),
    ]
    matrix = penalty_matrix(Results(tuple(runs)))
    assert matrix.values == ((0, 1, 0), (0, 0, 0), (0, 0, 0))
    assert matrix.n_datasets == ((0, 1, 0), (1, 0, 0), (0, 0, 0))
    assert matrix.column_means == (0.0, 1.0, None) and matrix.order == ("a", "b")


def test_strategies_that_cannot_be_compared(make_run):
    runs = [*runs_of(make_run, "a", [above(0.9, 0)])[:4], *runs_of(make_run, "b", [[0.1] * 5])]
    matrix = penalty_matrix(Results(tuple(runs)))  # four seeds in common
    assert matrix.values == ((0, 0), (0, 0)) and matrix.n_datasets == ((0, 0), (0, 0)) and matrix.order == ()
    assert penalty_matrix(Results(tuple(runs[:4]))).column_means == (None,)
    assert penalty_matrix(Results(())).strategies == ()
