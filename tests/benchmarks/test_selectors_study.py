"""The study of selectors: its settings files can be planned, and its tables are those of finished runs."""

import csv

import pytest

from deepal_autoal.benchmark.notation import read_oracles, read_strategies

COLUMNS = "dataset,strategy,seed,round,n_labeled,accuracy,train_s,query_s"


def test_contenders_and_oracles_exist(selectors_study):
    plan = selectors_study.plan
    for setting in plan.SETTINGS.values():
        written = [f"{label}={text}" for label, text in plan.contenders(setting).items()]
        assert [one.label for one in read_strategies(written)] == list(plan.contenders(setting))
    assert [one.label for one in read_oracles(plan.oracles())] == [
        "oracle-best-nine", "oracle-previous-nine", "oracle-boss",
    ]  # fmt: skip


def test_tables_show_paired_differences_and_regret(selectors_study, tmp_path):
    areas = {"margin": 0.7, "kmeans": 0.6, "random": 0.5, "vote-nine": 0.65, "random-candidate-nine": 0.55,
             "oracle-boss": 0.8}  # fmt: skip
    rows = [
        f"wine,{label},{seed},{number},{10 * (number + 1)},{area + 0.01 * seed},1.0,2.0"
        for label, area in areas.items() for seed in (0, 1) for number in (0, 1)
    ]  # fmt: skip
    (tmp_path / "wine").mkdir()
    (tmp_path / "wine" / "results.csv").write_text("\n".join([COLUMNS, *rows, ""]))
    selectors_study.tables.main(["--study", str(tmp_path), "--out", str(tmp_path / "results")])
    with open(tmp_path / "results" / "runs.csv", newline="") as file:
        runs = {(row["label"], row["seed"]): row for row in csv.DictReader(file)}
    assert len(runs) == 2 * len(areas)
    assert float(runs["margin", "1"]["aubc"]) == pytest.approx(0.71)
    assert (runs["margin", "1"]["train_s"], runs["margin", "1"]["query_s"]) == ("2.00", "4.00")
    text = (tmp_path / "results" / "tables.md").read_text()
    assert "chosen in hindsight (wine `margin`)" in text
    assert "| `vote-nine` | -5.0 (-5.0 … -5.0) |" in text  # of margin, and of none else
    assert "| `vote-nine` | +15.0 |" in text  # its regret
    plots = selectors_study.plots
    place = tmp_path / "results" / "selectors.svg"
    plots.main(["--results", str(place.parent)])
    first = place.read_bytes()
    assert b"a random candidate" in first and b"tables and changed pools" in first and b"10 to 50" not in first
    plots.main(["--results", str(place.parent)])
    assert place.read_bytes() == first
    assert plots.budget_of("mnist-low") == "low" and plots.budget_of("cifar10-noisy") == ""


def test_contenders_can_be_left_out(selectors_study, tmp_path):
    study, settings = selectors_study.study, selectors_study.plan.SETTINGS
    text = study.settings_file("wine", settings["wine"], tmp_path, False, ["selectal"])
    assert "selectal" not in text and "refine-own" in text
    study.main(["--list", "--out", str(tmp_path), "--settings", "wine,mnist-low", "--skip", "selectal, refine-poor"])
    assert "refine-poor" not in (tmp_path / "mnist-low.toml").read_text()
    with pytest.raises(SystemExit):
        study.main(["--list", "--out", str(tmp_path), "--skip", "selectl"])
