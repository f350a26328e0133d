"""Labels to reach random's accuracy against numbers computed by hand."""

import pytest

from deepal_autoal.experiment.results import Results
from deepal_autoal.statistics import LabelSaving, label_savings, labels_to_reach

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(
    "accuracy, aim, needed",
    [
        ((0.2, 0.4, 0.8), 0.6, 30.0),  # halfway between 20 and 40
        ((0.2, 0.4, 0.8), 0.4, 20.0),
        ((0.2, 0.4, 0.8), 0.25, 12.5),
        ((0.2, 0.4, 0.8), 0.8, 40.0),
        ((0.2, 0.4, 0.8), 0.1, 10.0),
        ((0.2, 0.4, 0.8), 0.81, None),
        ((0.2, 0.7, 0.6), 0.65, 19.0),  # the first crossing counts, whatever follows
        ((0.3, 0.2, 0.4), 0.3, 10.0),
        ((0.5, 0.5, 0.5), 0.5, 10.0),
    ],
)
def test_first_crossing(accuracy, aim, needed):
    found = labels_to_reach((10, 20, 40), accuracy, aim)
    assert found == (None if needed is None else pytest.approx(needed))


def test_median_over_seeds_with_some_that_never_reach_it(make_run):
    curves = {0: (0.3, 0.6, 0.9), 1: (0.7, 0.8, 0.9), 2: (0.3, 0.4, 0.5), 3: (0.1, 0.3, 0.5), 9: (0.9, 0.9, 0.9)}
    runs = [
        *(make_run("random", seed, (0.2, 0.4, 0.6)) for seed in range(4)),
        *(make_run("own", seed, curve) for seed, curve in curves.items()),  # 20, 10, never, never; 9 has no partner
        *(make_run("poor", seed, (0.1, 0.1, 0.1)) for seed in range(2)),
        make_run("elsewhere", 7, (0.9, 0.9, 0.9)),
        make_run("own", 0, (0.9, 0.9), "without random"),
    ]
    found = label_savings(Results(tuple(runs)))
    assert found == [
        LabelSaving("d", "own", 4, 2, None, None),  # the two middle values are 20 and never
        LabelSaving("d", "poor", 2, 0, None, None),
        LabelSaving("d", "random", 4, 4, 30.0, 1.0),
    ]
    three = Results(tuple(run for run in runs if run.seed != 3))
    assert label_savings(three)[0] == LabelSaving("d", "own", 3, 2, 20.0, pytest.approx(2 / 3))
    assert [(s.dataset, s.strategy) for s in label_savings(three, baseline="own")] == [
        ("d", "own"), ("d", "poor"), ("d", "random"), ("without random", "own"),
    ]  # fmt: skip
    assert label_savings(three, baseline="none") == []


def test_each_seed_has_its_own_aim_and_budget(make_run):
    runs = [
        make_run("random", 0, (0.2, 0.6)), make_run("random", 1, (0.2, 0.3, 0.4, 0.8)),  # 20 and 40 labels
        make_run("own", 0, (0.2, 0.7, 0.8)), make_run("own", 1, (0.2, 0.4, 0.8, 0.9)),  # 18 and 30
    ]  # fmt: skip
    own = label_savings(Results(tuple(runs)))[0]
    assert own.labels == pytest.approx(24) and own.share == pytest.approx((18 / 20 + 30 / 40) / 2)
