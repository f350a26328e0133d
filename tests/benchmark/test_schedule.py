"""The choice of the next run, without executing any."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from deepal_autoal.benchmark.schedule import SHARED_FOLDER, Schedule


@pytest.fixture
def make(tmp_path):
    """Return a function that makes runs of ``"a0"`` (strategy a, seed 0); capitals change training."""

    def call(*names):
        return [
            SimpleNamespace(
                folder=tmp_path / "data" / name[0] / f"seed-{name[1]}", seed=int(name[1]), name=name,
                changes_training=name[0].isupper(), setup=SimpleNamespace(recipe=SimpleNamespace(compile="z" in name)),
            )
            for name in names
        ]  # fmt: skip

    return call


def taken(schedule):
    names = []
    while (run := schedule.take()) is not None:
        names.append(run.name)
    return names


def test_other_runs_wait_for_the_round_0_that_the_first_one_trains(make):
    runs = make("a0", "b0", "C0", "a1", "b1", "C1")
    schedule = Schedule(runs)
    assert taken(schedule) == ["a0", "C0", "a1", "C1"] and len(schedule) == 2
    files = {run.name: schedule.initial_model(run) for run in runs}
    assert files["a0"] == files["b0"] != files["a1"] == files["b1"] and files["C0"] is None
    assert files["a0"].parent.name == SHARED_FOLDER
    schedule.note_round(runs[3])
    assert taken(schedule) == ["b1"]
    schedule.note_round(runs[0])
    assert taken(schedule) == ["b0"] and len(schedule) == 0


def test_if_the_first_run_fails_the_next_one_trains_round_0(make):
    runs = make("a0", "b0", "c0")
    schedule = Schedule(runs)
    assert taken(schedule) == ["a0"]
    schedule.note_end(runs[0])
    assert taken(schedule) == ["b0"]  # which now trains it, so c still waits
    schedule.note_round(runs[1])
    assert taken(schedule) == ["c0"]


def test_a_run_that_fails_after_round_0_blocks_no_other(make):
    runs = make("a0", "b0")
    schedule = Schedule(runs)
    schedule.take()
    schedule.note_round(runs[0])
    schedule.note_end(runs[0])
    assert taken(schedule) == ["b0"]


def test_the_file_is_kept_as_long_as_it_is_needed(make):
    runs = make("a0", "b0", "a1", "b1")
    schedule = Schedule(runs)
    files = [schedule.initial_model(run) for run in runs]
    files[0].parent.mkdir(parents=True)
    for file in files:
        file.write_bytes(b"")
    schedule.note_end(runs[0])
    assert files[0].exists()
    schedule.note_end(runs[1])
    assert not files[0].exists() and files[2].exists()
    schedule.note_end(runs[2])
    schedule.note_end(runs[3])
    assert not list(files[0].parent.iterdir())


def test_single_and_incomplete_runs_share_nothing(make):
    runs = make("a0", "b0", "c0", "a1")
    for run in runs[:2]:
        run.folder.mkdir(parents=True)
        Path(run.folder, "rounds.jsonl").write_text("{}\n")
    schedule = Schedule(runs)
    assert [schedule.initial_model(run) for run in runs] == [None] * 4
    assert taken(schedule) == ["a0", "b0", "c0", "a1"]


def test_compiled_models_are_not_shared_and_no_run_waits(make):
    schedule = Schedule(make("a0z", "b0z"))
    assert taken(schedule) == ["a0z", "b0z"]


def test_a_file_that_cannot_be_removed_stops_nothing(make, tmp_path):
    runs = make("a0", "b0")
    schedule = Schedule(runs)
    (tmp_path / "data" / SHARED_FOLDER).parent.mkdir(parents=True)
    (tmp_path / "data" / SHARED_FOLDER).write_text("a file where a folder should be")
    assert taken(schedule) == ["a0"]
    schedule.note_round(runs[0])
    for run in runs:
        schedule.note_end(run)
    assert taken(schedule) == ["b0"]
