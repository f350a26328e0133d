"""Which cautions are given, and which are not."""

import numpy as np
import pytest

from deepal_autoal.experiment.results import Results
from deepal_autoal.statistics import find_cautions

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def runs(make_run):
    """Return a function that creates runs of strategies from their mean accuracies."""

    def make(n_seeds, dataset="d", **means):
        rng = np.random.default_rng(0)
        return [
            make_run(name, seed, [0.5, mean + rng.normal(0, 0.01)], dataset)
            for name, mean in means.items()
            for seed in range(n_seeds)
        ]

    return make


def kinds(runs):
    return [(caution.kind, caution.dataset, caution.strategies) for caution in find_cautions(Results(tuple(runs)))]


def test_no_cautions(runs):
    assert kinds(runs(10, random=0.6, good=0.7, poor=0.5)) == [] and kinds([]) == []


def test_not_distinguishable_from_random(runs):
    alike = runs(10, random=0.6, good=0.7, same=0.6, also=0.601)
    (caution,) = find_cautions(Results(tuple(alike)))
    assert (caution.kind, caution.dataset, caution.strategies) == ("like-baseline", "d", ("also", "same"))
    assert caution.message == "Not distinguishable from random on d by AUBC: also, same."
    # Identical accuracies, and a baseline with another name.
    twins = runs(10, a=0.6)
    twins += [type(run)("d", "b", run.seed, run.n_labeled, run.accuracy, run.seconds) for run in twins]
    assert [c.kind for c in find_cautions(Results(tuple(twins)), baseline="a")] == ["like-baseline"]


def test_holm_counts_the_comparisons(make_run):
    """A p-value of 0.03 is significant alone, but not together with two that are not."""
    noise = np.array([-2, -1, 0, 1, 2, -2, -1, 0, 1, 2]) / 100
    base = [make_run("random", seed, [0.5]) for seed in range(10)]
    # t = sqrt(10) mean / 0.0149 = 2.55, and p = 0.031 with nine degrees of freedom.
    own = [make_run("own", seed, [0.512 + noise[seed]]) for seed in range(10)]
    same = [make_run(name, seed, [0.5 + noise[seed]]) for name in ("x", "y") for seed in range(10)]
    assert kinds(base + own) == []
    assert kinds(base + own + same) == [("like-baseline", "d", ("own", "x", "y"))]


def test_seeds(runs):
    mixed = runs(4, random=0.5, a=0.9) + runs(9, b=0.9) + runs(10, "e", random=0.5, a=0.9)
    assert kinds(mixed) == [
        ("too-few-seeds", "d", ("a", "random")), ("few-seeds", "d", ("b",)), ("unequal-seeds", "d", ("a", "random")),
    ]  # fmt: skip
    few, some, unequal = find_cautions(Results(tuple(mixed)))
    assert few.message == "Too few seeds on d for any test (below 5): 4 (a, random)."
    assert some.message == "Few seeds on d; claims are weak below 10: 9 (b)."
    assert unequal.message.endswith("Missing: a 4, 5, 6, 7, 8; random 4, 5, 6, 7, 8.")
    assert kinds(runs(5, random=0.6, a=0.9)) == [("few-seeds", "d", ("a", "random"))]
    assert kinds(runs(1, random=0.6)) == [("too-few-seeds", "d", ("random",))]


def test_label_counts(runs, make_run):
    complete = runs(10, random=0.5, a=0.9, b=0.8)
    stopped = [run for run in complete if (run.strategy, run.seed) != ("a", 3)] + [make_run("a", 3, [0.9])]
    (caution,) = find_cautions(Results(tuple(stopped)))
    assert (caution.kind, caution.strategies) == ("unequal-labels", ("a",)) and "10 to 20 labels" in caution.message
    # Equally many of both kinds: the larger budget is the usual one.
    two = [make_run(name, seed, accuracy) for name, accuracy in (("random", [0.1, 0.2]), ("z", [0.1]))
           for seed in range(10)]  # fmt: skip
    assert ("unequal-labels", "d", ("z",)) in kinds(two)


def test_without_random(runs):
    assert kinds(runs(10, a=0.5, b=0.9)) == [("no-baseline", "d", ("a", "b"))]
