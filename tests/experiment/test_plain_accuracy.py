"""The accuracy of a plain model on the picks of strategies that change training."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest

from deepal_autoal import ActiveLearner, load_results, run
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.benchmark.tables import Tables
from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.experiment.results import read_results
from deepal_autoal.files import read_json
from deepal_autoal.report.report_data import Contents
from deepal_autoal.report.study import read_study
from deepal_autoal.report.tables.dataset_tables import accuracy_table
from deepal_autoal.statistics import estimate_all


@pytest.fixture
def blob_data(blob_data):
    """The blobs so blurred that pseudo-labels change what is learned."""
    rng = np.random.default_rng(0)
    x, x_test = ((part + 3 * rng.normal(size=part.shape)).astype(np.float32)
                 for part in (blob_data.x_train, blob_data.x_test))  # fmt: skip
    return replace(blob_data, x_train=x, x_test=x_test)


@pytest.fixture
def settings(quick):
    return {**quick, "rounds": 2, "model": "mlp", "options": {"threshold": 1.0}}


def without_times(result, *others):
    left_out = ("seconds", "query_peak_bytes", *others)
    return [{key: value for key, value in record.items() if key not in left_out} for record in result.rounds]


def test_it_is_a_plain_model_on_the_same_labels_and_changes_nothing_else(tmp_path, blob_data, settings):
    result = run("ceal", blob_data, out=tmp_path / "run", plain_accuracy=True, **settings)
    learner = ActiveLearner(
        blob_data.x_train, "random", 3, model="mlp", recipe={**settings["recipe"], "epochs": settings["epochs"]},
        scaling=result.config["scaling"], device="cpu",
    )  # fmt: skip
    expected, labels = [], result.config["initial"]
    for record in result.rounds:
        learner.tell(labels, blob_data.y_train[labels])
        expected.append((learner.predict(blob_data.x_test) == blob_data.y_test).mean())
        labels = record["queried"]
    found = [record["plain_accuracy"] for record in result.rounds]
    assert found == expected and found != [record["accuracy"] for record in result.rounds]
    assert read_json(tmp_path / "run/summary.json")["final_plain_accuracy"] == found[-1]
    usual = run("ceal", blob_data, **settings)
    assert without_times(result, "plain_accuracy") == without_times(usual)
    assert usual.rounds[0]["seconds"].keys() == result.rounds[0]["seconds"].keys()


def test_a_learner_has_a_plain_model_before_it_trained_another(blob_data):
    def learner(strategy):
        made = ActiveLearner(blob_data.x_train, strategy, 3, model="mlp", recipe={"epochs": 3}, device="cpu")
        made.tell(range(15), blob_data.y_train[:15])
        return made

    expected = learner("random").predict(blob_data.x_test).tolist()
    for strategy in ("ceal[threshold=1.0]", "margin"):
        assert learner(strategy).plain_predictor().predict(blob_data.x_test).tolist() == expected


def test_a_resumed_run_ends_the_same_and_keeps_the_setting(tmp_path, blob_file, settings):
    whole = run("ceal", blob_file, plain_accuracy=True, **settings)

    def stop(live, record):
        if record["round"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("ceal", blob_file, out=tmp_path / "run", plain_accuracy=True, on_round=stop, **settings)
    assert without_times(run(out=tmp_path / "run", resume=True)) == without_times(whole)
    with pytest.raises(RunFolderError, match="plain_accuracy was True and is now False"):
        run(out=tmp_path / "run", resume=True, plain_accuracy=False)
    run("ceal", blob_file, out=tmp_path / "without", plain_accuracy=False, **settings)
    run(out=tmp_path / "without", resume=True)
    with pytest.raises(RunFolderError, match="plain_accuracy was False and is now True"):
        run(out=tmp_path / "without", resume=True, plain_accuracy=True)


def test_a_strategy_that_does_not_change_training_needs_no_other_model(blob_data, settings, monkeypatch):
    monkeypatch.delattr(ActiveLearner, "plain_predictor")
    rounds = run("margin", blob_data, plain_accuracy=True, **{**settings, "options": None}).rounds
    assert [record["plain_accuracy"] for record in rounds] == [record["accuracy"] for record in rounds]


def test_warm_starts_are_refused(tmp_path, blob_file, settings):
    settings.pop("options")
    for start in (
        lambda: run("ceal", blob_file, plain_accuracy=True, warm_start=True, **settings),
        lambda: run_benchmark("ceal", [blob_file], 1, tmp_path, plain_accuracy=True, warm_start=True, **settings),
    ):
        with pytest.raises(InputError, match="leave out --warm-start"):
            start()


def test_benchmarks_tables_and_reports_have_it(tmp_path, blob_file, settings):
    settings = {**settings, "rounds": 1}
    settings.pop("options")
    strategies = "ceal=ceal[threshold=1.0],margin"
    study = tmp_path / "study"
    run_benchmark("margin", [blob_file], 1, tmp_path / "without", **settings)
    run_benchmark(strategies, [blob_file], 2, study, plain_accuracy=True, **settings)
    with open(study / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = read_results(study).runs
    values = [value for one in found for value in one.plain_accuracy]
    assert [float(row["plain_accuracy"]) for row in rows] == values == load_results(study)["plain_accuracy"].tolist()
    assert found[0].plain_accuracy != found[0].accuracy and found[2].plain_accuracy == found[2].accuracy
    assert [one.plain_aubc for one in found[2:]] == [one.aubc for one in found[2:]]
    assert [one.plain_accuracy for one in read_results(study / "results.csv").runs] == [
        one.plain_accuracy for one in found
    ]
    ceal = estimate_all(read_results(study))[0]
    assert ceal.plain_aubc.mean == pytest.approx(sum(one.plain_aubc for one in found[:2]) / 2) != ceal.aubc.mean
    table = accuracy_table(Contents(read_study([study])))
    column = next(column for column in table.columns if column.title == "plain AUBC, %")
    shown = {row["strategy"]: column.show(row) for row in table.rows}
    assert shown["ceal"].startswith(f"{100 * ceal.plain_aubc.mean:.2f}")

    with pytest.raises(RunFolderError, match="plain_accuracy was None and is now True"):
        run_benchmark("margin", [blob_file], 1, tmp_path / "without", plain_accuracy=True, **settings)
    assert "plain_accuracy" not in (tmp_path / "without/results.csv").read_text()
    # Runs with and without it can be compared: the table has it for those that recorded it.
    shutil.copytree(tmp_path / "without/blobs/margin", study / "blobs/other")
    mixed = Tables(study)
    mixed.write()
    with open(study / "results.csv", newline="") as file:
        assert {row["strategy"] for row in csv.DictReader(file) if not row["plain_accuracy"]} == {"other"}
    table = read_results(study / "results.csv")
    assert [one.plain_accuracy is None for one in table.runs] == [False] * 4 + [True]
    assert load_results(study)["plain_accuracy"].isna().sum() == 2
    Contents(read_study([study]))
