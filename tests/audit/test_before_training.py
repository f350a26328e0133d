"""Accuracy from answers before training: by hand, and how far it is off in projects of a model that trains at once."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from deepal_autoal.audit.advice import advise
from deepal_autoal.audit.before_training import estimate_before_training
from deepal_autoal.audit.estimates import HeldOut, accuracy_estimate, plain_accuracy
from deepal_autoal.audit.report import BEFORE_TRAINING
from deepal_autoal.audit.sampling import audit_order, prefix_length

INITIAL, BATCH, ROUNDS, SHARE, CLASSES = 50, 20, 6, 0.3, 10


def ridge(x, y):
    """Return a function that gives the class probabilities of a ridge regression on one-hot classes."""
    center = x.mean(0)
    mean, inner = np.eye(CLASSES)[y].mean(0), x - center
    weight = np.linalg.solve(inner.T @ inner + 8 * np.eye(x.shape[1]), inner.T @ (np.eye(CLASSES)[y] - mean))

    def probabilities(samples):
        powers = np.exp(10 * ((samples - center) @ weight + mean))
        return powers / powers.sum(1, keepdims=True)

    return probabilities


def project(x, y, seed, by_margin):
    """Simulate a project; return its estimate, the plain count, and the true accuracies on new samples and the rest."""
    new, pool = np.split(np.random.default_rng(seed).permutation(len(x)), [len(x) // 3])
    order = audit_order(len(pool), seed, np.arange(INITIAL))
    labeled, answers = order[:INITIAL], {True: [], False: []}
    for number in range(1, ROUNDS + 1):
        model = ridge(x[pool[labeled]], y[pool[labeled]])
        prefix = order[: prefix_length(len(pool), INITIAL, number * BATCH, SHARE)]
        due = prefix[~np.isin(prefix, labeled)]
        free = np.setdiff1d(np.arange(len(pool)), [*labeled, *due])
        top = np.sort(model(x[pool[free]]), axis=1)
        chosen = free[np.argsort(top[:, -1] - top[:, -2])] if by_margin else free
        chosen = (chosen if by_margin else np.random.default_rng([seed, number]).permutation(chosen))[
            : BATCH - len(due)
        ]
        for is_due, batch in ((True, due), (False, chosen)):
            found = model(x[pool[batch]])
            answers[is_due] += zip(found.argmax(1) == y[pool[batch]], found.max(1), y[pool[batch]], strict=True)
        labeled = np.concatenate([labeled, due, chosen])
    model, rest = ridge(x[pool[labeled]], y[pool[labeled]]), np.setdiff1d(np.arange(len(pool)), labeled)
    right, sure, labels = map(np.array, zip(*answers[True], strict=True))
    found = estimate_before_training(
        HeldOut(right, sure), labels, np.array([one[0] for one in answers[False]]), model(x[pool[rest]]).max(1),
        y[pool[prefix]], len(pool), len(rest), CLASSES,
    )  # fmt: skip
    truths = [(model(x[rows]).argmax(1) == y[rows]).mean() for rows in (new, pool[rest])]
    return found, plain_accuracy(right), *truths


@pytest.mark.parametrize("by_margin", [False, True])
def test_the_lag_is_corrected_and_the_interval_holds(by_margin):
    """Plain answers of earlier, weaker models are 4 points and more too low."""
    x, y = load_digits(return_X_y=True)
    found, plain, new, rest = zip(*(project(x / 16, y, seed, by_margin) for seed in range(40)), strict=True)
    for estimates, truths in (([one.accuracy for one in found], new), ([one.rest for one in found], rest)):
        truths = np.array(truths)
        bias = np.mean([one.estimate for one in estimates] - truths)
        lag = np.mean([one.estimate for one in plain] - np.array(rest))
        assert lag < -0.04 and abs(bias) < 0.04 and abs(bias) < 0.6 * abs(lag)
        held = np.mean([one.low <= truth <= one.high for one, truth in zip(estimates, truths, strict=True)])
        assert held >= 0.93
        assert np.mean([one.high - one.low for one in estimates]) < 0.3


def test_parts_by_hand():
    rng = np.random.default_rng(0)
    right, sure = rng.random(30) < 0.8, rng.uniform(0.3, 1, 30)
    confidence, labels = rng.uniform(0.5, 1, 100), np.arange(30) % 3
    chosen = np.arange(20) < 8
    found = estimate_before_training(HeldOut(right, sure), labels, chosen, confidence, labels[:6], 200, 150, 4)
    rest = accuracy_estimate(HeldOut(right, sure), confidence)
    assert found.rest.estimate == rest.estimate and found.rest.low <= rest.low <= rest.high <= found.rest.high
    assert found.accuracy.estimate == pytest.approx(0.95 * rest.estimate + 0.05 * 0.4)
    below, above = (0.9 * side + 0.1 * 0.4 for side in (rest.low, rest.high))
    assert found.accuracy.n == 30 and found.accuracy.low == pytest.approx(below) and found.accuracy.high > above
    assert found.accuracy.high == pytest.approx(rest.high)
    assert [one and one.n for one in found.recall] == [10, 10, 10, None]
    assert [one.estimate for one in found.frequencies] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert found.overconfidence.estimate == pytest.approx((sure - right).mean())
    assert found.method == found.to_json(5)["method"] == BEFORE_TRAINING and found.payoff is None
    assert "without further models" in found.verdict and "without further models" in advise(found, 5).text
    whole = estimate_before_training(HeldOut(right, sure), labels, chosen[:0], confidence, labels, 200, 0, 4)
    assert whole.rest is None and whole.accuracy == rest
