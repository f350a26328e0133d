"""Accuracy from audited samples: exact values, and how often the intervals hold in cheap simulations."""

import numpy as np
import pytest
from scipy import stats

from deepal_autoal.audit.estimates import HeldOut, accuracy_estimate, clopper_pearson, plain_accuracy, proportion
from deepal_autoal.audit.report import audit_estimate, cohens_kappa


def test_clopper_pearson_is_scipys():
    for right, n in ((0, 10), (3, 10), (10, 10), (69, 70)):
        exact = stats.binomtest(right, n).proportion_ci(method="exact")
        assert clopper_pearson(right / n, n) == pytest.approx((exact.low, exact.high))


def test_the_plain_interval_covers_exactly_enough():
    """Summed over all outcomes rather than drawn."""
    for n, truth in ((10, 0.7), (50, 0.9), (70, 0.98)):
        intervals = [proportion(right, n) for right in range(n + 1)]
        chances = stats.binom.pmf(range(n + 1), n, truth)
        covers = [one.low <= truth <= one.high for one in intervals]
        assert chances @ np.array(covers) >= 0.95


def draw(rng, n, shift=0.0):
    """Return predictions whose confidence is misleadingly high but in the right order; ``shift`` makes them harder."""
    z = rng.normal(size=n) - shift
    return HeldOut(rng.random(n) < 1 / (1 + np.exp(-2 - 2 * z)), 1 / (1 + np.exp(-4 - z)))


def test_confidence_narrows_the_interval_which_still_covers():
    rng = np.random.default_rng(0)
    truth = draw(rng, 400_000).correct.mean()
    found, plain = [], []
    for _ in range(250):
        audited = draw(rng, 100)
        found.append(accuracy_estimate(audited, draw(rng, 1000).confidence))
        plain.append(plain_accuracy(audited.correct))
    covers = np.mean([one.low <= truth <= one.high for one in found])
    assert covers >= 0.93 and abs(np.mean([one.estimate for one in found]) - truth) < 0.005
    errors = [np.std([one.estimate for one in many]) for many in (found, plain)]
    assert errors[0] < 0.9 * errors[1]


def test_confidence_corrects_an_audit_set_that_is_harder_than_the_pool():
    rng = np.random.default_rng(1)
    truth = draw(rng, 400_000).correct.mean()
    audits = [draw(rng, 100, shift=0.4) for _ in range(200)]
    found = [accuracy_estimate(audited, draw(rng, 1000).confidence) for audited in audits]
    plain = [plain_accuracy(audited.correct) for audited in audits]
    covers = [np.mean([one.low <= truth <= one.high for one in many]) for many in (found, plain)]
    assert covers[0] >= 0.95 > 0.9 > covers[1]


def test_without_errors_or_reference_the_estimate_is_plain():
    confidence = np.linspace(0.5, 0.9, 40)
    right = HeldOut(np.ones(40, dtype=bool), confidence)
    assert accuracy_estimate(right, confidence) == plain_accuracy(right.correct) == proportion(40, 40)
    mixed = HeldOut(np.arange(40) % 4 > 0, confidence)
    assert accuracy_estimate(mixed, confidence[:0]) == proportion(30, 40)
    assert accuracy_estimate(mixed.part([0, 1]), confidence) == proportion(1, 2)


def test_confidence_that_says_nothing_changes_nothing():
    correct = np.arange(80) % 4 > 0
    for confidence in (np.full(80, 0.7), np.zeros(80), np.ones(80)):
        found = accuracy_estimate(HeldOut(correct, confidence), confidence)
        assert found.estimate == pytest.approx(0.75)
        assert found.low == pytest.approx(proportion(60, 80).low, abs=0.01)


def test_a_perfect_separation_by_confidence_is_finite():
    correct = np.arange(60) >= 10
    found = accuracy_estimate(HeldOut(correct, np.where(correct, 0.9, 0.3)), np.full(500, 0.9))
    assert 0.9 < found.estimate < 1 and found.low < found.estimate <= found.high <= 1


def test_classes_and_calibration():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    correct = np.array([True, True, True, False, True, False, True, True])
    is_audited = np.array([True] * 6 + [False] * 2)
    held_out = HeldOut(correct, np.full(8, 0.75))
    found = audit_estimate(labels, held_out, is_audited, np.full(5, 0.75), np.zeros(8, dtype=bool), 5, 4)
    assert found.recall == (proportion(3, 4), proportion(1, 2), None, None)
    assert [one.estimate for one in found.frequencies] == [4 / 6, 2 / 6, 0, 0]
    assert found.accuracy.n == 6 and found.accuracy.estimate == pytest.approx(4 / 6)
    assert found.overconfidence.estimate == pytest.approx(0.75 - 4 / 6)
    assert (found.rest.low * 5) % 1 == pytest.approx(0) and found.rest.high == 1.0
    assert audit_estimate(labels, held_out, is_audited, np.empty(0), is_audited, 0, 4).rest is None


def test_kappa_is_sklearns():
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(0)
    one = rng.integers(0, 4, size=200)
    other = np.where(rng.random(200) < 0.7, one, rng.integers(0, 4, size=200))
    assert cohens_kappa(one, other, 4) == pytest.approx(cohen_kappa_score(one, other))
    assert np.isnan(cohens_kappa(one * 0, one * 0, 4))
