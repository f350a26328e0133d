"""What labels are worth, on curves that are known."""

from dataclasses import replace

import numpy as np
import pytest

from deepal_autoal.audit.advice import advise
from deepal_autoal.audit.estimates import mean_estimate, proportion
from deepal_autoal.audit.payoff import LEAST_SAMPLES, curve_parts, payoff
from deepal_autoal.audit.report import AuditEstimate
from deepal_autoal.errors import InputError

M = 2000


def simulated(present_error, seed=0, n=M, scale=4.0, exponent=0.5, n_labels=4000):
    """Return the payoff where the error of a uniform sample of s labels is scale · s**-exponent."""
    rng = np.random.default_rng(seed)
    parts = curve_parts(n)
    correct = np.stack([rng.random(n) >= scale * len(part) ** -exponent for part in parts])
    present = rng.random(n) >= present_error
    return payoff(parts, correct, present, float(present.mean()), n_labels, seed)


def test_parts_are_of_three_sizes_and_leave_samples_to_evaluate_on():
    assert sorted({len(part) for part in curve_parts(100)}) == [25, 50, 80]
    assert all(np.isin(np.arange(100), part).mean() < 0.9 for part in curve_parts(100))


def test_it_is_the_number_of_labels_at_which_the_curve_meets_the_present_error():
    # 4 · 6400**-0.5 = 0.05
    found = [simulated(0.05, seed) for seed in range(8)]
    assert np.median([one.equivalent.estimate for one in found]) == pytest.approx(6400, rel=0.2)
    assert sum(one.equivalent.low <= 6400 <= (one.equivalent.high or np.inf) for one in found) >= 7
    assert np.median([one.exponent for one in found]) == pytest.approx(0.5, abs=0.1)


def test_verdicts():
    paying, open_, not_paying = (simulated(error, n_labels=4000) for error in (0.03, 0.0632, 0.095))
    assert [one.is_paying for one in (paying, open_, not_paying)] == [True, None, False]
    assert paying.text.startswith("Choosing pays: 4,000 labels are worth ")
    assert open_.text.startswith("Cannot tell yet") and not_paying.text.startswith("Choosing does not pay")


def test_little_evidence_is_no_answer():
    assert simulated(0.3, n=LEAST_SAMPLES - 1, scale=1.0) is None
    assert simulated(0.0) is None
    flat = simulated(0.2, scale=0.4, exponent=0.0)  # a curve that does not fall meets it nowhere
    assert flat is None or flat.equivalent.high is None


def test_the_gain_of_a_batch_follows_the_curve():
    gain = simulated(0.05).gain(400)
    expected = 0.05 * (1 - (4000 / 4400) ** 0.5)
    assert gain.low < expected < gain.high and gain.estimate == pytest.approx(expected, rel=0.3)


def test_advice_weighs_gain_against_cost():
    ninety = proportion(90, 100)
    both = (ninety, ninety)
    found = AuditEstimate(ninety, ninety, both, both, mean_estimate(np.zeros(9)), simulated(0.05), 0.985)
    high = 100 * found.payoff.gain(400).high
    stop = advise(found, 400, label_cost=1.0, value_per_point=0.9 * 400 / high)
    go_on = advise(found, 400, label_cost=1e-6, value_per_point=100)
    assert stop.should_stop is True and "stop." in stop.text and "keep changing" in stop.text
    assert go_on.should_stop is False and "go on." in go_on.text
    assert advise(found, 400, 1.0, 1.1 * 400 / high).should_stop is False
    assert advise(found, 400).should_stop is None and "points of accuracy" in advise(found, 400).text
    assert advise(None, 400, 1.0, 1.0).should_stop is None
    for amounts in ((1.0, None), (-1.0, 1.0), (1.0, float("nan"))):
        with pytest.raises(InputError):
            advise(found, 400, *amounts)


def test_advice_is_to_stop_when_predictions_have_stopped_changing():
    ninety = proportion(90, 100)
    both = (ninety, ninety)
    found = AuditEstimate(ninety, ninety, both, both, mean_estimate(np.zeros(9)), simulated(0.05), 0.995)
    for one in (found, replace(found, payoff=None)):
        stop = advise(one, 400, label_cost=1e-6, value_per_point=100)
        assert stop.should_stop is True and stop.text.endswith(
            " Predictions have stopped changing (agreement 0.995): stop."
        )
        assert "go on" not in stop.text
        few = advise(one, 19, label_cost=1e-6, value_per_point=100)  # models so close agree anyway
        assert few.should_stop is (False if one.payoff else None) and "Second opinion" in few.text
        assert advise(one, 400).should_stop is None and advise(one, 400).text.endswith("(agreement 0.995).")
    assert advise(replace(found, payoff=None, stability=0.985), 400, 1e-6, 100).should_stop is None
