"""Finished runs are read back from a real benchmark, and damaged ones are refused."""

import csv
import json
import math
import shutil
import sys

import pytest

import deepal_autoal
from deepal_autoal import load_results, run
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.experiment.results import FinishedRun, Results, read_results

COLUMNS = ["dataset", "strategy", "seed", "round", "n_labeled", "accuracy", "train_s", "query_s", "evaluate_s",
           "changes_training"]  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Return the folder of a benchmark of two strategies and two seeds on digits."""
    folder = tmp_path_factory.mktemp("benchmark") / "out"
    settings = {"epochs": 1, "recipe": {"min_steps": 1}, "model": "linear", "initial": 20, "batch_size": 5,
                "rounds": 2, "pool_size": 60, "threads": 1}  # fmt: skip
    run_benchmark("random,low=entropy", "digits", 2, folder, **settings)
    run("margin", "digits", seed=3, out=folder.parent / "alone", **settings)
    return folder


@pytest.fixture
def copy(study, tmp_path):
    """A copy of the benchmark's folder, to be damaged."""
    return shutil.copytree(study, tmp_path / "copy")


def test_a_benchmark_as_a_table(study):
    table = load_results(study)
    assert list(table.columns) == COLUMNS and len(table) == 2 * 2 * 3
    with open(study / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for key in COLUMNS[:8]:
        assert [str(value) for value in table[key]] == [row[key] for row in rows]
    assert (table["changes_training"] == False).all() and (table["evaluate_s"] > 0).all()  # noqa: E712
    assert {str(table[key].dtype) for key in ("seed", "round", "n_labeled")} == {"int64"}
    final = table[table["round"] == 2].groupby("strategy")["accuracy"].mean()
    accuracies = [json.loads(path.read_text())["final_accuracy"] for path in study.glob("digits/low/*/summary.json")]
    assert final["low"] == pytest.approx(sum(accuracies) / 2)


def test_the_csv_alone_gives_the_same_except_what_it_lacks(study, copy):
    shutil.rmtree(copy / "digits")
    whole, bare = load_results(study), load_results(copy)
    assert bare[COLUMNS[:8]].equals(whole[COLUMNS[:8]]) and bare.equals(load_results(copy / "results.csv"))
    assert bare["evaluate_s"].isna().all() and bare["changes_training"].isna().all()
    one, other = read_results(study).runs[0], read_results(copy).runs[0]
    assert one.aubc == other.aubc and one.folder == study / "digits/low/seed-0" and other.folder is None
    assert other.phase_seconds("evaluate") is None and one.phase_seconds("train") == other.phase_seconds("train")


def test_a_single_run_alone_and_in_a_benchmark(study, monkeypatch):
    alone = load_results(study.parent / "alone")
    assert set(alone["strategy"]) == {"margin"} and set(alone["dataset"]) == {"digits"} and set(alone["seed"]) == {3}
    assert list(alone["round"]) == [0, 1, 2]
    inside = load_results(study / "digits" / "low" / "seed-1")
    assert set(inside["strategy"]) == {"low"} and set(inside["seed"]) == {1}
    monkeypatch.chdir(study / "digits" / "low" / "seed-1")
    assert load_results(".").equals(inside)


def test_unfinished_runs_are_left_out_and_refused_alone(copy):
    (copy / "digits/low/seed-1/summary.json").unlink()
    assert len(read_results(copy).runs) == 3
    with pytest.raises(RunFolderError, match="has not finished: continue it with --resume"):
        load_results(copy / "digits/low/seed-1")
    for path in copy.glob("*/*/*/summary.json"):
        path.unlink()
    with pytest.raises(RunFolderError, match=r"no run in .* has finished"):
        load_results(copy)


def test_a_folder_without_runs(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunFolderError, match="holds no runs: give a benchmark's folder"):
            load_results(path)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda lines: ["a,b", *lines[1:]], "not a table of results"),
        (lambda lines: [], "not a table of results"),
        (lambda lines: lines[:1], "holds no finished run"),
        (lambda lines: [*lines[:2], *lines[3:]], "damaged in line 3: a run's rounds are not numbered"),
        (lambda lines: [*lines[:4], lines[4].replace("digits", "digits,x")], "damaged in line 5"),
        (lambda lines: [*lines[:1], "digits,low,0,0,20,nan,1,1"], "damaged: low on digits, seed 0 has an accuracy"),
        (lambda lines: [*lines[:1], "digits,low,0,0,20,0.5,1,1", "digits,low,0,1,20,0.5,1,1"], "do not ascend"),
        (lambda lines: [*lines[:1], "digits,low,zero,0,20,0.5,1,1"], "damaged in line 2"),
    ],
)
def test_damaged_tables(copy, change, message):
    path = copy / "results.csv"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(RunFolderError, match=message):
        load_results(path)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("rounds.jsonl", "", "holds no rounds"),
        ("rounds.jsonl", '{"round": 0, "n_labeled": 5, "seconds": {}}\n', "'accuracy' of round 0 is missing"),
        (
            "rounds.jsonl",
            '{"round": 0, "n_labeled": 5, "accuracy": NaN, "seconds": {"train": 1, "query": 1}}\n',
            "'accuracy' of round 0 is missing or of another kind",
        ),
        ("rounds.jsonl", '{"round": 0, "n_labeled": 5, "accuracy": 1, "seconds": [1]}\n', "damaged"),
        (
            "rounds.jsonl",
            '{"round": 0, "n_labeled": 5, "accuracy": 1, "queried": [], "seconds": {"train": 1}}\n',
            "does not match summary.json",
        ),
        (
            "rounds.jsonl",
            '{"round": 0, "n_labeled": Infinity, "accuracy": 1, "seconds": {"train": 1, "query": 1}}\n',
            "damaged",
        ),
        ("config.json", "{}", "damaged"),
        ("config.json", "[]", "damaged"),
    ],
)
def test_damaged_run_folders(copy, name, text, message):
    (copy / "digits/low/seed-0" / name).write_text(text)
    with pytest.raises(RunFolderError, match=message):
        load_results(copy)
    alone = shutil.move(copy / "digits/low/seed-0", copy.parent / "alone")
    with pytest.raises(RunFolderError, match=message):
        load_results(alone)


def test_without_pandas(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pip install 'deepal_autoal\[pandas\]'"):
        load_results(study)


def test_bad_runs_are_refused(make_run):
    with pytest.raises(InputError, match="two runs of a on d, seed 0"):
        Results((make_run("a", 0, [0.5]), make_run("a", 0, [0.6])))
    with pytest.raises(InputError, match="at least one"):
        make_run("a", 0, [])
    with pytest.raises(InputError, match="same rounds"):
        FinishedRun("d", "a", 0, (1, 2), (0.5,), ({},))
    with pytest.raises(InputError, match="not finite"):
        make_run("a", 0, [math.inf])
    with pytest.raises(InputError, match="not finite"):
        make_run("a", 0, [0.5], query=math.nan)
    with pytest.raises(InputError, match=r"accuracies are in \[0, 1\]; 93.5 looks like a percentage"):
        make_run("a", 0, [0.0, 93.5])
    with pytest.raises(InputError, match=r"an accuracy of -0.1: accuracies are in \[0, 1\]$"):
        make_run("a", 0, [1.0, -0.1])
    with pytest.raises(InputError, match="seconds below 0"):
        make_run("a", 0, [0.5], train=-1.0)


def test_runs_are_sorted_and_grouped(make_run):
    results = Results((make_run("b", 1, [0.5]), make_run("a", 10, [0.5]), make_run("a", 2, [0.5], "c"),
                       make_run("a", 9, [0.25, 0.75])))  # fmt: skip
    assert [str(run) for run in results.runs] == [
        "a on c, seed 2",
        "a on d, seed 9",
        "a on d, seed 10",
        "b on d, seed 1",
    ]
    assert results.datasets == ("c", "d") and list(results.on("d")) == ["a", "b"]
    assert list(results.on("d")["a"]) == [9, 10]
    assert results.areas("d") == {"a": {9: 0.5, 10: 0.5}, "b": {1: 0.5}} and results.on("x") == {}
    assert results.runs[1].total_seconds == 2 * 1.75 and results.runs[1].phase_seconds("query.search") == 0.25


def test_load_results_is_public():
    assert "load_results" in deepal_autoal.__all__
