"""Relative times against numbers computed by hand."""

import pytest

from deepal_autoal.experiment.results import FinishedRun, Results
from deepal_autoal.statistics import PhaseTimes, relative_phase_times, relative_times

pytestmark = pytest.mark.filterwarnings("error")


def test_relative_times_over_common_seeds():
    seconds = {"base": {0: 2.0, 1: 4.0}, "slow": {0: 3.0, 1: 9.0, 2: 1000.0}, "elsewhere": {5: 1.0}}
    assert relative_times(seconds, "base") == {"base": 1.0, "slow": 2.0, "elsewhere": None}
    assert relative_times(seconds, "entropy") == {"base": None, "slow": None, "elsewhere": None}
    assert relative_times({"base": {0: 0.0}, "own": {0: 1.0}}, "base") == {"base": None, "own": None}


def test_phases_relative_to_the_reference_on_the_same_seeds(make_run):
    runs = [
        make_run("entropy", 0, [0.5, 0.6], train=1.0, query=0.5),
        make_run("entropy", 1, [0.5, 0.6], train=3.0, query=0.5),
        make_run("slow", 0, [0.5, 0.6], train=2.0, query=4.0),
        make_run("slow", 2, [0.5, 0.6], train=1000.0),
        make_run("elsewhere", 5, [0.5, 0.6]),
    ]
    found = relative_phase_times(Results(tuple(runs)).on("d"))
    # On seed 0 a round takes 1 + 0.25 + 0.5 versus 2 + 0.25 + 4; query.search is part of query.
    assert found["slow"] == PhaseTimes(2.0, 1.0, 8.0, pytest.approx(6.25 / 1.75))
    assert found["entropy"] == PhaseTimes(1.0, 1.0, 1.0, 1.0)
    assert found["elsewhere"] == PhaseTimes(None, None, None, None)
    nothing = PhaseTimes(None, None, None, None)
    assert relative_phase_times(Results(tuple(runs[2:])).on("d")) == {"elsewhere": nothing, "slow": nothing}


def test_a_phase_that_was_not_recorded_or_took_no_time():
    def run(strategy, **seconds):
        return {0: FinishedRun("d", strategy, 0, (10,), (0.5,), (seconds,))}

    times = relative_phase_times(
        {"entropy": run("entropy", train=2.0, query=0.0), "own": run("own", train=3.0, query=1.0)}
    )
    assert times["own"] == PhaseTimes(1.5, None, None, 2.0)
