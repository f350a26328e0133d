"""Where a run's time goes: the accounting, with fake clocks, and what runs write."""

import json
import threading
import time

import pytest
import torch

from deepal_autoal import InputError, run
from deepal_autoal.measuring import profile as profiles
from deepal_autoal.measuring.profile import OTHER, Profile, section
from deepal_autoal.measuring.profile_tables import describe, markdown, remarks, totals


class Clocks:
    """Wall and computing time that advance only when the test says so."""

    def __init__(self):
        self.wall = self.computed = 0.0

    def work(self, seconds, waiting=0.0):
        self.wall += seconds + waiting
        self.computed += seconds


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
def profile(clocks):
    return Profile(clock=lambda: clocks.wall, computing=lambda: clocks.computed)


def seconds(profile, phase=0):
    return {name: (part.seconds, part.waiting, part.times) for name, part in profile.phases[phase].parts.items()}


def test_section_excludes_time_of_inner_sections(profile, clocks):
    with profile.active():
        clocks.work(1)
        with section("query"):
            clocks.work(2)
            with section("outputs"):
                clocks.work(3, waiting=4)
            clocks.work(5)
            with section("outputs"):
                clocks.work(6)
        clocks.work(7)
    assert seconds(profile) == {OTHER: (8, 0, 0), "query": (7, 0, 1), "outputs": (13, 4, 2)}
    assert profile.seconds == clocks.wall


def test_seconds_of_a_section_include_inner_sections(profile):
    with profile.active(), section("outer") as outer, section("inner") as inner:
        time.sleep(0.01)
    with section("outer") as alone:  # no profile is active
        time.sleep(0.01)
    assert outer.seconds >= inner.seconds >= 0.01 and alone.seconds >= 0.01


def test_error_closes_open_sections(profile, clocks):
    with profile.active():
        with pytest.raises(ValueError), section("outer"), section("inner"):
            clocks.work(1)
            raise ValueError
        clocks.work(2)
    assert seconds(profile) == {"inner": (1, 0, 1), "outer": (0, 0, 1), OTHER: (2, 0, 0)}


def test_recursive_function_can_be_a_section(profile, clocks):
    @section("recursion")
    def recurse(depth):
        clocks.work(1)
        return depth and recurse(depth - 1)

    recurse(2)  # no profile is active
    with profile.active():
        recurse(2)
    assert seconds(profile)["recursion"] == (3, 0, 3)


def test_phases(profile, clocks):
    with profile.active():
        with section("set-up"):
            clocks.work(1)
        profile.begin("round 0")
        with section("train"):
            clocks.work(2)
        clocks.work(3)
        profile.begin("end")
    assert [phase.name for phase in profile.phases] == ["start", "round 0", "end"]
    assert seconds(profile, 0)["set-up"] == (1, 0, 1)
    assert seconds(profile, 1) == {"train": (2, 0, 1), OTHER: (3, 0, 0)}


def test_nothing_is_counted_after_the_end(profile, clocks):
    with profile.active():
        clocks.work(1)
        profile.stop()
        with section("late"):
            clocks.work(5)
    assert profile.seconds == 1


def test_work_in_other_threads_counts_as_waiting(profile, clocks):
    def work():
        with section("elsewhere"):
            pass

    with profile.active(), section("query"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        clocks.work(0, waiting=2)
    assert "elsewhere" not in seconds(profile) and seconds(profile)["query"] == (2, 2, 1)


def test_busy_waiting_for_a_device_counts_as_waiting(profile, clocks, monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: clocks.work(3))
    profile.on(torch.device("cuda"))
    with profile.active(), section("train"):
        clocks.work(1)
    assert seconds(profile)["train"] == (4, 3, 1)


def test_earlier_time_counts_as_startup(clocks):
    profile = Profile((5.0, 3.0), clock=lambda: clocks.wall, computing=lambda: clocks.computed)
    with profile.active():
        clocks.work(1)
    assert profile.phases[0].parts["start and imports"].waiting == 2 and profile.seconds == 6


def test_process_start_precedes_this_test():
    age = profiles._process_age()
    assert age is None or 0 < time.process_time() - 1 < age + 600
    assert Profile.of_process().seconds == pytest.approx(age or 0.0, abs=5)


def test_repeated_passes_are_counted(profile):
    class Inputs:
        def __len__(self):
            return 10

    model, other, inputs = Inputs(), Inputs(), Inputs()  # any objects distinguished by identity
    profile.passed(model, inputs, torch.arange(6).numpy())
    profile.passed(model, inputs, torch.arange(4, 8).numpy())
    profile.passed(other, inputs, torch.arange(10).numpy())
    profile.begin("round 1")
    profile.passed(model, inputs, torch.arange(10).numpy())
    assert [(phase.n_passed, phase.n_again) for phase in profile.phases] == [(20, 2), (10, 0)]


def test_tables(profile, clocks):
    with profile.active():
        with section("train"):
            clocks.work(3)
        profile.begin("round 4")
        with section("candidate a|b"):
            clocks.work(1, waiting=1)
    profile.is_resumed = True
    assert list(totals(profile.phases)) == ["train", "candidate a|b", OTHER]
    text = markdown(profile)
    assert "| train | 3.000 | 60.0% | 0.000 | 1 |" in text and "| candidate a\\|b | 2.000 | 40.0% | 1.000 | 1 |" in text
    assert "from round 4 on" in text and "from round 4 on" in remarks(profile)[1]
    described = describe(profile)
    assert described["seconds"] == 5 and described["phases"][1]["parts"]["candidate a|b"]["waiting"] == 1


def test_profile_covers_a_run_without_changing_it(tmp_path, blob_data, quick):
    quick |= {"candidates": ["entropy", "margin"], "options": {"warmup_steps": 1, "steps": 2}, "rounds": 2}
    plain = run("autoal", blob_data, out=tmp_path / "plain", **quick)
    result = run("autoal", blob_data, out=tmp_path / "run", profile=True, **quick)
    assert plain.profile is None and not (tmp_path / "plain" / "profile.json").exists()
    written = json.loads((tmp_path / "run" / "profile.json").read_text())
    assert written == describe(result.profile) and not written["is_resumed"]
    assert (tmp_path / "run" / "profile.md").read_text() == markdown(result.profile)
    assert [phase["phase"] for phase in written["phases"]] == ["start", *(f"round {n}" for n in range(3)), "end"]
    first = written["phases"][1]
    assert {"train", "evaluate", "query", "outputs", "training", "search", "selection", "guards", "records",
            "candidate entropy", "candidate margin", OTHER} <= set(first["parts"])  # fmt: skip
    whole = totals(result.profile.phases)
    assert sum(part.seconds for part in whole.values()) == pytest.approx(result.profile.seconds)
    assert all(phase.n_passed > 0 and phase.n_again == 0 for phase in result.profile.phases[1:-1])
    assert profiles.active_profile() is None

    def untimed(result):
        return [{k: v for k, v in r.items() if k not in ("seconds", "query_peak_bytes")} for r in result.rounds]

    assert untimed(result) == untimed(plain)
    assert [set(r["seconds"]) for r in result.rounds] == [set(r["seconds"]) for r in plain.rounds]


def test_almost_all_time_is_accounted_for(blob_data, quick):
    profile = run("entropy", blob_data, profile=True, **quick).profile
    assert totals(profile.phases)[OTHER].seconds < 0.25 * profile.seconds


def test_profile_of_a_resumed_run_covers_its_rounds_only(tmp_path, blob_data, quick):
    def stop(active, record):
        if record["round"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("margin", blob_data, out=tmp_path / "run", on_round=stop, profile=True, **quick)
    assert profiles.active_profile() is None
    result = run(out=tmp_path / "run", dataset=blob_data, resume=True, profile=True)
    assert result.profile.is_resumed
    assert [phase.name for phase in result.profile.phases] == ["start", "round 2", "round 3", "end"]
    assert "from round 2 on" in (tmp_path / "run" / "profile.md").read_text()


def test_invalid_profiles_are_refused(blob_data, quick):
    with pytest.raises(InputError, match="profile must be True, False or a Profile, not 'yes'"):
        run("entropy", blob_data, profile="yes", **quick)
    over = run("random", blob_data, profile=Profile(), **{**quick, "rounds": 0}).profile
    n_phases = len(over.phases)
    with pytest.raises(InputError, match="holds another run"):
        run("random", blob_data, profile=over, **quick)
    assert len(over.phases) == n_phases
