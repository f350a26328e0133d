"""The studies of the audit: a project of each, on digits."""

import numpy as np
import pytest


def test_a_project_of_each_study(audit_study):
    coverage, before_training = audit_study.coverage, audit_study.before_training
    _, x, y = next(coverage.datasets())
    checks = list(coverage.project(x, y, "margin", 0))
    assert [one.n_labels for one in checks] == [90, 150, 250] and checks[-1].on_test > 0.8
    checks = list(before_training.project(x, y, "margin", 0.3, 0))
    assert [one.n_labels for one in checks] == [150, 250]
    assert all(0 <= one.accuracy.low <= one.accuracy.estimate <= one.accuracy.high <= 1 for one in checks)
    found = before_training.row("digits", "margin", 0.3, checks[:1])
    assert found["accuracy_coverage"] in (0.0, 1.0) and found["projects"] == 1


def test_where_rules_stop_a_project(audit_study):
    stopping = audit_study.stopping
    _, x, y = next(stopping.all_datasets(None))
    found = stopping.stops(x, y, "margin", 0)
    assert len(found["accuracies"]) == len(found["few"]) == 41
    # A point that is worth more is a reason to go on.
    ends = [41 if found[f"gain {value:g}"] is None else found[f"gain {value:g}"] for value in stopping.VALUES]
    assert ends == sorted(ends) and ends[0] < 41
    end = found["patience"]
    first = end + 1 - stopping.PATIENCE
    assert max(found["accuracies"][first : end + 1]) <= max(found["accuracies"][:first])


def test_stopping_is_judged_in_hindsight(audit_study):
    stopping = audit_study.stopping
    one = {"accuracies": [0.5, 0.6, 0.605, 0.605], "gain 20": 2, "gain 50": None, "gain 200": None, "stable": 0,
           "patience": 1, "patience 100": 1}  # fmt: skip
    rows = {(row["value"], row["rule"]): row for row in stopping.stopping_rows("d", "margin", [one])}
    # At 20 labels a point, ten points are worth 200 labels, and another half point 10 of the batch's 20.
    assert rows[20, "gain"]["best"] == 70 and rows[20, "gain"]["labels"] == 90
    assert rows[20, "gain"]["beyond"] == 20 and round(rows[20, "gain"]["regret"], 6) == 10
    assert rows[20, "advice"]["labels"] == rows[50, "advice"]["labels"] == 50
    assert rows[20, "stable"]["early"] == 1 and round(rows[20, "stable"]["regret"], 6) == 180
    assert rows[20, "patience"]["regret"] == 0 and rows[20, "patience 100"]["regret"] == 100
    assert rows[50, "gain"]["stopped"] == 0 and rows[50, "gain"]["labels"] == 110
    assert rows[200, "all"]["best"] == 90


def test_verdicts_are_counted_by_what_is_true(audit_study):
    stopping = audit_study.stopping
    curve = [10, 100, 200], [0.5, 0.8, 0.9]
    projects = [
        {"labels": [90], "accuracies": [accuracy], "answers": [True], "verdicts": [verdict], "audited": [54]}
        for accuracy, verdict in [(0.9, "pays"), (0.6, "pays"), (0.6, "does not"), (0.9, "cannot tell")]
    ]
    (row,) = stopping.verdict_rows("d", "margin", 0.1, projects, curve)
    assert (row["pays"], row["pays, wrongly"], row["does not"], row["does not, wrongly"]) == (0.5, 0.25, 0.25, 0)
    assert row["worth more"] == 0.5 and row["answers"] == 1


def test_a_study_that_was_stopped_goes_on(audit_study, tmp_path):
    stopping, made = audit_study.stopping, []

    def make():
        made.append(1)
        return {"a": len(made)}

    path = tmp_path / "out" / "s.jsonl"
    kept = stopping.Kept(path)
    assert kept.get(("d", 0.1, 0), make) == {"a": 1} and kept.get(("d", 0.1, 1), make) == {"a": 2}
    path.write_text(path.read_text()[:-5])
    again = stopping.Kept(path)
    assert again.get(("d", 0.1, 0), make) == {"a": 1} and len(made) == 2
    assert again.get(("d", 0.1, 1), make) == {"a": 3} and len(path.read_text().splitlines()) == 2


def test_the_price_of_an_audit(audit_study, tmp_path):
    price = audit_study.price
    line = price.command(tmp_path, tmp_path, "digits8", 0.1, "10")
    assert line[line.index("--audit") + 1] == "0.1" and "random" not in line[2]
    assert "random" in price.command(tmp_path, tmp_path, "digits8", 0.0, "10")[2]
    for share, accuracies in ((0.0, (0.5, 0.9)), (0.1, (0.5, 0.8))):
        folder = tmp_path / f"digits8-{share}"
        folder.mkdir()
        lines = [f"digits8,margin,{seed},{number},{20 + 20 * number},{accuracy},1,1"
                 for seed in range(2) for number, accuracy in enumerate(accuracies)]  # fmt: skip
        header = "dataset,strategy,seed,round,n_labeled,accuracy,train_s,query_s"
        (folder / "results.csv").write_text("\n".join([header, *lines]) + "\n")
    rows = price.read_runs(tmp_path)
    assert [(row["share"], row["aubc"]) for row in rows] == [("0", "0.70000")] * 2 + [("0.1", "0.65000")] * 2
    aubc = {("digits8", "margin", 0.0): {0: 0.7, 1: 0.8}, ("digits8", "margin", 0.1): {0: 0.65, 1: 0.77}}
    mean, error, lost, n = price.price(aubc, "digits8", "margin", 0.1)
    assert (round(mean, 6), round(error, 6), lost, n) == (-4, 1, 2, 2)


def test_projects_of_the_engine_are_kept_and_counted(audit_study, tmp_path, monkeypatch, capsys):
    engine = audit_study.engine
    rng, y = np.random.default_rng(0), np.arange(400) % 3
    np.savez(tmp_path / "made.npz", x=rng.normal(size=(400, 8)) + 2.5 * np.eye(8)[y], y=y)
    monkeypatch.setattr(engine, "DATASETS", ("made",))
    monkeypatch.setattr(engine, "CHECKED", (1,))
    monkeypatch.setattr(engine, "STRATEGIES", {"margin": "margin", "random": "random"})
    place = tmp_path / "engine.csv"
    line = ["engine.py", "--data", str(tmp_path), "--projects", "1", "--out", str(place)]
    monkeypatch.setattr("sys.argv", line)
    engine.main()
    rows = engine.read(place)
    assert [(row["strategy"], row["seed"], row["n_labels"], row["audited"]) for row in rows] == [
        ("margin", "0", "70", "52"), ("random", "1000", "70", "52"),
    ]  # fmt: skip
    for row in rows:
        assert 0.6 < float(row["on_test"]) <= 1 and float(row["low"]) <= float(row["estimate"]) <= float(row["high"])
    first = place.read_bytes()
    capsys.readouterr()
    engine.main()  # nothing is left to do
    assert place.read_bytes() == first
    assert "| made | 70 | 2 |" in capsys.readouterr().out
    rows[0] |= {"on_test": "0.9", "low": "0.91", "high": "0.95", "estimate": "0.92"}
    rows[1] |= {"on_test": "0.9", "low": "0.85", "high": "0.95", "estimate": "0.88"}
    assert engine._figures(rows[:2]).startswith("90.0 | +0.0 | 50.0 | 7.0 | ")


@pytest.mark.parametrize(
    ("name", "tables"),
    [("coverage", ["coverage.csv"]), ("before_training", ["before_training.csv"]), ("price", ["price.csv"]),
     ("stopping", ["stopping.csv", "verdicts.csv"])],
)  # fmt: skip
def test_a_trial_writes_its_tables_elsewhere(audit_study, tmp_path, monkeypatch, name, tables):
    study = getattr(audit_study, name)
    rng, y = np.random.default_rng(0), np.arange(480) % 2
    data = [("made", rng.normal(size=(480, 4)) + 2.5 * np.eye(4)[y], y)]
    monkeypatch.setattr(study, "all_datasets" if name == "stopping" else "datasets", lambda *given: data, raising=False)
    monkeypatch.setattr(study, "true_curve", lambda x, y: ([10, 100], [0.5, 0.9]), raising=False)
    committed = {path: path.read_bytes() for path in study.HERE.glob("*.csv")}
    line = [f"{name}.py", "--results", str(tmp_path / "results")]
    if name == "price":
        monkeypatch.setattr(study.subprocess, "run", lambda line, check: None)
        line += ["--out", str(tmp_path)]
    else:
        line += ["--projects", "2", *(["--out", str(tmp_path)] if name == "stopping" else [])]
    monkeypatch.setattr("sys.argv", line)
    study.main()
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == tables
    assert {path: path.read_bytes() for path in study.HERE.glob("*.csv")} == committed
