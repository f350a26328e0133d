import json
import logging
from dataclasses import replace

import numpy as np
import plan
import pytest

import study
from deepal_autoal import DeepALError, ScoringStrategy, hookimpl

LABELS = ("random", "vote", "hindsight")


class Moody(ScoringStrategy):
    """Fails while ``fails`` is set."""

    requires = frozenset({"probabilities"})
    fails = True

    def score(self, context):
        if self.fails:
            raise DeepALError("not today")
        return context.candidates.probabilities()[:, 0]


class Plugin:
    @hookimpl
    def deepal_register_strategies(self, registry):
        registry.add("moody", Moody, summary="of a test")


@pytest.fixture
def toy(tmp_path, monkeypatch, blob_data):
    """Return a function that runs a toy study and returns its exit status and its lines."""
    setting = plan.Setting("toy", "toy", "linear", 12, 6, 2, 60, recipe={"epochs": 2, "min_steps": 5})
    group = (plan.Contender("random", "random"), plan.Contender("vote", "vote", ("margin", "entropy")),
             plan.Contender("hindsight", "hindsight", ("margin", "entropy")))  # fmt: skip
    monkeypatch.setitem(plan.SETTINGS, "toy", setting)
    monkeypatch.setitem(plan.GROUPS, "toy", group)
    for name in ("toy", "toy-dev"):
        data = blob_data
        np.savez(
            tmp_path / f"{name}.npz", x=data.x_train, y=data.y_train, x_test=data.x_test, y_test=data.y_test
        )  # fmt: skip

    def call(*arguments, seeds=2, jobs=1):
        given = ["--data", tmp_path, "--out", tmp_path / "out", "--settings", "toy", "--groups", "toy", "--jobs", jobs]
        status = study.main([*map(str, given), "--seeds", str(seeds), *arguments])
        return status, [json.loads(line) for line in (tmp_path / "out" / study.RUNS).read_text().splitlines()]

    call.out = tmp_path / "out"
    return call


def names(lines):
    return [(line["label"], line["seed"]) for line in lines]


def test_lines_are_complete_and_repeating_continues(toy, capsys):
    level = logging.getLogger("deepal_autoal").level
    status, lines = toy(seeds=1)
    assert status == 0 and names(lines) == [(label, 0) for label in LABELS]
    for line in lines:
        assert line["n_labeled"] == [12, 18, 24] and len(line["accuracy"]) == 3
        area = (line["accuracy"][0] + 2 * line["accuracy"][1] + line["accuracy"][2]) / 4
        assert line["aubc"] == pytest.approx(area) and line["seconds"]["train"] > 0
    assert lines[1]["weights"] == [{"margin": 0.5, "entropy": 0.5}] * 2
    assert set(lines[2]["chosen"]) <= {"margin", "entropy"}
    assert logging.getLogger("deepal_autoal").level == level
    status, more = toy(seeds=2)
    assert status == 0 and more[:3] == lines and names(more[3:]) == [(label, 1) for label in LABELS]
    error = capsys.readouterr().err
    assert "6 runs, 3 of them done" in error and "[3/3] toy hindsight seed 1: " in error and " left" in error
    assert toy(seeds=2) == (0, more)


def test_an_incomplete_line_of_a_killed_study_is_cut_off(toy):
    _, lines = toy(seeds=1)
    path = toy.out / study.RUNS
    path.write_bytes(path.read_bytes()[:-7])
    status, again = toy(seeds=1)
    assert status == 0 and names(again) == names(lines)
    assert [line["accuracy"] for line in again] == [line["accuracy"] for line in lines]


def test_runs_with_changed_options_are_repeated(toy, monkeypatch):
    _, lines = toy(seeds=1)
    changed = plan.Contender("vote", "vote", ("margin", "entropy"), {"final": "top"})
    monkeypatch.setitem(plan.GROUPS, "toy", (plan.GROUPS["toy"][0], changed))
    assert toy("--accept-earlier", seeds=1) == (0, lines)
    _, more = toy(seeds=1)
    assert names(more[3:]) == [("vote", 0)]
    _, dev = toy("--dev", seeds=1)
    assert names(dev[4:]) == [("random", 0), ("vote", 0)]


def test_a_failed_run_does_not_stop_others_and_is_repeated(toy, registered, monkeypatch, capsys):
    registered(Plugin(), "moody")
    monkeypatch.setitem(plan.GROUPS, "toy", (plan.Contender("moody", "moody"), plan.Contender("random", "random")))
    status, lines = toy(seeds=1)
    assert status == 1 and "not today" in lines[0]["failed"] and "aubc" not in lines[0] and lines[1]["aubc"]
    assert "toy moody seed 0: " in capsys.readouterr().err
    monkeypatch.setattr(Moody, "fails", False)
    status, lines = toy(seeds=1)
    assert status == 0 and names(lines) == [("moody", 0), ("random", 0), ("moody", 0)]
    assert toy(seeds=1) == (0, lines)


def test_a_process_gives_the_same_numbers(toy):
    _, lines = toy("--labels", "random", seeds=1)
    (toy.out / study.RUNS).unlink()
    status, parallel = toy("--labels", "random", seeds=1, jobs=2)  # a single run starts one process
    assert status == 0 and parallel[0]["accuracy"] == lines[0]["accuracy"]


def test_runs_go_seed_by_seed_and_settings_limit_seeds(toy, monkeypatch, capsys):
    monkeypatch.setitem(plan.SETTINGS, "short", replace(plan.SETTINGS["toy"], name="short", max_seeds=1))
    (toy.out).mkdir()
    (toy.out / study.RUNS).touch()
    toy("--list", "--settings", "toy,short", "--labels", "random vote")
    assert capsys.readouterr().out.splitlines() == [
        "toy random seed 0", "toy vote seed 0", "short random seed 0", "short vote seed 0", "toy random seed 1",
        "toy vote seed 1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--settings", "mnist"], "there is no setting 'mnist'"),
        (["--labels", "rnadom"], "there is no contender 'rnadom'"),
        (["--settings", "mnist-low"], "embeddings.py"),
    ],
)
def test_wrong_use(toy, arguments, message):
    with pytest.raises(SystemExit, match=message):
        toy(*arguments)


def test_remaining_time_is_estimated_by_the_contenders_own_runs(toy):
    jobs = study.plan_jobs(study.read_arguments(["--data", str(toy.out.parent), "--out", "x", "--settings", "toy",
                                                 "--groups", "toy", "--seeds", "2"]))  # fmt: skip
    earlier = [
        {"setting": "toy", "label": "random", "seed": 7, "wall_s": 1.0},
        {"setting": "toy", "label": "vote", "seed": 7, "wall_s": 5.0},
        {"setting": "toy", "label": "vote", "seed": 8, "wall_s": 99.0, "failed": "so"},
    ]
    # Two seeds of 1 s, 5 s, and the setting's mean of 3 s for the oracle, in two processes.
    assert study.Progress(jobs, 2, earlier).remaining() == pytest.approx((1 + 5 + 3) * 2 / 2)
