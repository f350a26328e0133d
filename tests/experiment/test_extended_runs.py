"""Runs that go on to more rounds, runs whose data was moved, and the table of queried samples."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from deepal_autoal import load_dataset, load_model, run, run_benchmark
from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.experiment.records import RunFolder

BUDGETS = {"vaal": {"epochs": 2}, "autoal": {"steps": 10, "warmup_steps": 3}}


def stop_after(number):
    def on_round(active, record):
        if record["round"] == number:
            raise KeyboardInterrupt

    return on_round


def untimed(folder):
    records = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "query_peak_bytes")} for record in records]


def assert_same_run(folder, other):
    assert untimed(folder) == untimed(other)
    assert (folder / "queried.csv").read_bytes() == (other / "queried.csv").read_bytes()
    one, two = (json.loads((place / "summary.json").read_text()) for place in (folder, other))
    for name in ("aubc", "final_accuracy", "n_rounds", "n_labeled", "status"):
        assert one[name] == two[name]
    weights = [torch.load(place / "model.pt", weights_only=True) for place in (folder, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
    configs = [json.loads((place / "config.json").read_text()) for place in (folder, other)]
    assert all(configs[0][name] == configs[1][name] for name in configs[1] if name not in ("command", "checksum"))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("random", {}),
        ("margin", {"recipe": {"min_steps": 5, "warm_start": True}}),
        ("vaal", {}),
        ("autoal", {"candidates": ["entropy", "kmeans"]}),
        ("lpl", {}),
    ],
)
def test_an_extended_run_equals_one_of_as_many_rounds(tmp_path, blob_file, quick, name, settings):
    asked = {**quick, "model": "mlp", "options": BUDGETS.get(name), **settings}
    run(name, blob_file, out=tmp_path / "whole", **{**asked, "rounds": 4})
    extended = tmp_path / "extended"
    run(name, blob_file, out=extended, **{**asked, "rounds": 1})
    for rounds in (2, 4):
        result = run(out=extended, resume=True, rounds=rounds)
        assert len(result.rounds) == rounds + 1 and result.config["rounds"] == rounds
    assert_same_run(extended, tmp_path / "whole")
    again = run(out=extended, resume=True)  # finished: does nothing
    assert again.rounds == result.rounds


def test_rounds_0_can_be_extended(tmp_path, blob_file, quick):
    run("margin", blob_file, out=tmp_path / "whole", **quick)
    run("margin", blob_file, out=tmp_path / "run", **{**quick, "rounds": 0})
    run(out=tmp_path / "run", resume=True, rounds=3)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_an_extension_that_is_killed_continues(tmp_path, blob_file, quick, stop):
    run("margin", blob_file, out=tmp_path / "whole", **quick)
    folder = tmp_path / "run"
    run("margin", blob_file, out=folder, **{**quick, "rounds": 1})
    with pytest.raises(KeyboardInterrupt):
        run(out=folder, resume=True, rounds=3, on_round=stop_after(max(1, stop)))
    if stop == 0:  # right after the old summary is gone
        shutil.rmtree(folder)
        run("margin", blob_file, out=folder, **{**quick, "rounds": 1})
        with pytest.raises(KeyboardInterrupt):
            run(out=folder, resume=True, rounds=3, on_start=lambda active: stop_after(0)(active, {"round": 0}))
    with pytest.raises(RunFolderError, match=r"no finished run: summary.json is missing"):
        load_model(folder)
    run(out=folder, resume=True)
    assert_same_run(folder, tmp_path / "whole")


def test_a_kill_before_the_old_summary_is_gone(tmp_path, blob_file, quick, monkeypatch):
    run("margin", blob_file, out=tmp_path / "whole", **quick)
    folder = tmp_path / "run"
    run("margin", blob_file, out=folder, **{**quick, "rounds": 1})

    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunFolder, "reopen", killed)
        run(out=folder, resume=True, rounds=3)
    run(out=folder, resume=True)
    assert_same_run(folder, tmp_path / "whole")


def test_an_unfinished_run_is_extended(tmp_path, blob_file, quick):
    run("margin", blob_file, out=tmp_path / "whole", **quick)
    with pytest.raises(KeyboardInterrupt):
        run("margin", blob_file, out=tmp_path / "run", on_round=stop_after(1), **{**quick, "rounds": 2})
    run(out=tmp_path / "run", resume=True, rounds=3)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_run_that_was_stopped_stays_stopped(tmp_path, blob_file, quick):
    asked = {**quick, "plugin_options": {"target_accuracy": 0.01}}
    first = run("margin", blob_file, out=tmp_path / "run", **asked)
    again = run(out=tmp_path / "run", resume=True, rounds=5)
    assert again.rounds == first.rounds and again.status == "stopped" and again.config["rounds"] == 5
    assert run(out=tmp_path / "run", resume=True).rounds == first.rounds


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_strategy_that_plans_with_the_number_of_rounds_is_refused(tmp_path, blob_file, quick, is_finished):
    folder = tmp_path / "run"
    asked = {**quick, "candidates": ["entropy", "margin"]}
    if is_finished:
        run("albl", blob_file, out=folder, **asked)
    else:
        with pytest.raises(KeyboardInterrupt):
            run("albl", blob_file, out=folder, on_round=stop_after(1), **asked)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    message = "strategy 'albl' plans with the number of rounds.*run it again with --rounds 5 in another folder"
    with pytest.raises(RunFolderError, match=message) as caught:
        run(out=folder, resume=True, rounds=5)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert len(run(out=folder, resume=True).rounds) == 4


def test_what_cannot_be_extended_stays_as_it_is(tmp_path, blob_file, quick):
    folder = tmp_path / "run"
    first = run("margin", blob_file, out=folder, **quick)
    with pytest.raises(InputError, match="at most --rounds 18 is possible"):
        run(out=folder, resume=True, rounds=19)
    with pytest.raises(RunFolderError, match="rounds was 3 and is now 2"):
        run(out=folder, resume=True, rounds=2)
    (folder / "state-00002.pt").unlink()  # as earlier versions did
    with pytest.raises(RunFolderError, match="an earlier version finished it without a state to continue from"):
        run(out=folder, resume=True, rounds=4)
    assert run(out=folder, resume=True).rounds == first.rounds


def test_the_command_line_extends_a_run(tmp_path, blob_file, deepal):
    settings = ("--strategy", "margin", "--dataset", blob_file, "--model", "linear", "--epochs", 2, "--min-steps", 5,
                "--initial", 12, "--batch-size", 6, "--threads", 1, "--quiet")  # fmt: skip
    assert deepal("run", *settings, "--rounds", 4, "--out", "whole")[0] == 0
    assert deepal("run", *settings, "--rounds", 2, "--out", "run")[0] == 0
    assert deepal("run", "--resume", "--rounds", 4, "--out", "run", "--quiet")[0] == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("is_finished", [True, False])
def test_moved_data_resume(tmp_path, blob_file, quick, is_finished):
    folder, moved = tmp_path / "run", tmp_path / "elsewhere" / "copy-of-blobs.npz"
    whole = run("margin", blob_file, **quick)
    if is_finished:
        run("margin", blob_file, out=folder, **quick)
    else:
        with pytest.raises(KeyboardInterrupt):
            run("margin", blob_file, out=folder, on_round=stop_after(1), **quick)
    moved.parent.mkdir()
    shutil.move(blob_file, moved)
    with pytest.raises(InputError, match=r"blobs.npz, which is not there; if it was moved, give --dataset NEWPATH"):
        run(out=folder, resume=True)
    again = run(dataset=moved, out=folder, resume=True)
    assert [record["queried"] for record in again.rounds] == [record["queried"] for record in whole.rounds]
    assert run(out=folder, resume=True).rounds == again.rounds  # the new place is recorded
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"]["dataset"] == str(moved) and config["dataset"]["name"] == "blobs"
    with np.load(moved) as arrays:
        changed = {**arrays, "y": np.roll(arrays["y"], 1)}
    np.savez(tmp_path / "other.npz", **changed)
    with pytest.raises(RunFolderError, match=r"dataset.fingerprint was"):
        run(dataset=tmp_path / "other.npz", out=folder, resume=True)


def read_table(folder):
    with open(folder / "queried.csv", newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_queried_samples_are_listed_for_people(tmp_path, blob_data, quick):
    ids = np.array([f"=photos/{number:03d}.png" if number % 2 else f"photos/ü,{number}.png" for number in range(120)])
    path = tmp_path / "named.npz"
    np.savez(path, x=blob_data.x_train, y=blob_data.y_train, x_test=blob_data.x_test, y_test=blob_data.y_test,
             ids=ids, class_names=np.array(["-1", "+cmd|' /C calc'!A0", "cat"]))  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        run("margin", path, out=tmp_path / "run", on_round=stop_after(1), **quick)
    assert len(read_table(tmp_path / "run")) == 1 + 2 * 6
    (tmp_path / "run" / "queried.csv").unlink()  # a kill between both files
    result = run(out=tmp_path / "run", resume=True)
    head, *rows = read_table(tmp_path / "run")
    shown = {"-1": "-1", "+cmd|' /C calc'!A0": "'+cmd|' /C calc'!A0", "cat": "cat"}
    assert head == ["round", "index", "id", "label"]
    assert rows == [
        [str(record["round"]), str(index), f"'{ids[index]}" if index % 2 else ids[index],
         shown[("-1", "+cmd|' /C calc'!A0", "cat")[blob_data.y_train[index]]]]
        for record in result.rounds for index in record["queried"]
    ]  # fmt: skip


def test_copies_and_wrong_labels_are_listed_as_they_were_given(tmp_path, blob_data, quick):
    result = run("random", blob_data, out=tmp_path / "run", **quick, duplicates=2, label_noise=0.5)
    _, *rows = read_table(tmp_path / "run")
    picked = [index for record in result.rounds for index in record["queried"]]
    assert [int(row[1]) for row in rows] == picked and max(picked) >= 120
    assert [row[2] for row in rows] == [f"train/{index % 120}" for index in picked]
    assert {row[3] for row in rows} == {"a", "b", "c"}
    assert [row[3] for row in rows] != ["abc"[blob_data.y_train[index % 120]] for index in picked]


def test_rows_of_an_array_without_a_test_split_are_those_of_the_array(tmp_path, blob_data, quick):
    path = tmp_path / "one.npz"
    np.savez(path, x=blob_data.x_train, y=blob_data.y_train)
    run("random", path, out=tmp_path / "run", **quick)
    _, *rows = read_table(tmp_path / "run")
    data = load_dataset(path)
    for _, index, row, label in rows:
        np.testing.assert_array_equal(data.x_train[int(index)], blob_data.x_train[int(row)])
        assert label == str(blob_data.y_train[int(row)])
    assert any(index != row for _, index, row, _ in rows)


def test_data_of_another_form_are_said_to_be_other_data(tmp_path, blob_data, image_data, quick):
    settings = {**quick, "rounds": 1}
    for name, first, second in (("a", blob_data, image_data), ("b", image_data, blob_data)):
        run("random", first, out=tmp_path / name, **settings)
        with pytest.raises(RunFolderError, match=r"was run on other data: .* give the same data, or another --out"):
            run("random", second, out=tmp_path / name, resume=True, **settings)
        shared = {"seeds": 1, "out": tmp_path / f"{name}-study", **settings}
        run_benchmark("random", {"data": first}, **shared)
        shutil.rmtree(tmp_path / f"{name}-study" / ".data", ignore_errors=True)  # which tells it by itself
        with pytest.raises(RunFolderError, match="was run on other data"):
            run_benchmark("random", {"data": second}, **shared)
