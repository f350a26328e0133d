"""The tables match the statistics, and every number can be recomputed from results.csv."""

import csv
import itertools
import json
import shutil
import statistics

import pytest

from deepal_autoal.report import make_contents
from deepal_autoal.report.findings import find_findings, find_findings_over_datasets, in_one_sentence
from deepal_autoal.report.tables.all_tables import make_tables
from deepal_autoal.report.tables.table import find_table
from deepal_autoal.report.wording import format_seeds, joined, listed, p_value, percent, points, ratio
from tests.report.made_up_studies import GAINS, write_run, write_study


@pytest.fixture(scope="module")
def contents(study_folder):
    return make_contents([study_folder])


@pytest.fixture(scope="module")
def tables(contents):
    return make_tables(contents)


def row_of(tables, name, strategy, dataset="d"):
    (row,) = (
        row
        for row in find_table(tables, name).rows
        if row["strategy"] == strategy and row.get("dataset", dataset) == dataset
    )
    return row


def test_accuracy_by_hand(contents, tables):
    """From the rounds of results.csv, without the package's own statistics."""
    runs = {(run.strategy, run.seed): run for run in contents.study.results.runs if run.dataset == "d"}

    def area(strategy, seed):
        y = runs[strategy, seed].accuracy
        return sum((a + b) / 2 for a, b in itertools.pairwise(y)) / (len(y) - 1)  # equal steps

    areas = [area("good", seed) for seed in range(5)]
    row = row_of(tables, "accuracy", "good")
    assert row["aubc_mean"] == pytest.approx(statistics.fmean(areas))
    assert row["aubc_std"] == pytest.approx(statistics.stdev(areas))
    assert row["final_accuracy_mean"] == pytest.approx(
        statistics.fmean(runs["good", seed].accuracy[-1] for seed in range(5))
    )
    gaps = [area("good", seed) - area("random", seed) for seed in range(5)]
    assert row["difference"] == pytest.approx(statistics.fmean(gaps))
    assert row["seeds_above"] == sum(gap > 0 for gap in gaps) == 5
    for seed in range(5):
        (own,) = (
            row for row in find_table(tables, "runs").on("d").rows if (row["strategy"], row["seed"]) == ("good", seed)
        )
        assert own["aubc"] == pytest.approx(area("good", seed))
        assert own["train_s"] == 5.0 and own["query_s"] == 2.5


def test_verdicts_and_standing(tables):
    verdicts = {name: row_of(tables, "accuracy", name)["verdict"] for name in GAINS}
    assert verdicts == {
        "random": "baseline", "entropy": "not distinguishable", "good": "better", "picker": "better",
        "bad<b>&": "worse",
    }  # fmt: skip
    assert next(row["strategy"] for row in find_table(tables, "accuracy").on("d").rows) == "good"
    assert {name: row_of(tables, "accuracy", name)["standing"] for name in GAINS} == {
        "good": "best", "picker": "", "random": "", "entropy": "", "bad<b>&": "",
    }  # fmt: skip


def test_wins_cost_and_weights(tables):
    assert row_of(tables, "wins", "good")["wins_by_test"] == 4
    assert row_of(tables, "cost", "good")["labels_share"] < 0.9
    assert row_of(tables, "cost", "entropy")["relative_query"] == 1.0
    rows = [row for row in find_table(tables, "weights").on("d").rows if row["round"] == 2]
    assert {row["candidate"]: row["weight"] for row in rows} == pytest.approx({"one": 0.45, "two": 0.55})
    assert {row["seeds"] for row in rows} == {5}


def test_audits_beside_the_test_accuracy(tmp_path):
    """Rounds without an estimate have no row; whether an interval holds is counted seed by seed."""
    estimates = {0: (0.5, 0.4, 0.65), 1: (0.8, 0.7, 0.9)}

    def audit(seed):
        names = ("accuracy", "low", "high")
        found = dict(zip(names, estimates[seed], strict=True))
        return lambda number: None if number == 0 or (number == 2 and seed) else {**found, "n": 5}

    for seed in estimates:
        write_run(tmp_path / f"s{seed}", [0.5, 0.6, 0.7], seed=seed, audit=audit(seed))
    write_run(tmp_path / "without", [0.5, 0.6, 0.7], seed=2)
    found = find_table(make_tables(make_contents([tmp_path])), "audit")
    first, second = found.rows
    assert (first["round"], first["n_labeled"], first["seeds"], first["held"]) == (1, 20, 2, 1)
    assert (second["round"], second["seeds"], second["held"], second["audit_accuracy"]) == (2, 1, 0, 0.5)
    assert (first["accuracy"], first["audit_accuracy"]) == pytest.approx((0.6, 0.65))
    assert (first["audit_low"], first["audit_high"]) == pytest.approx((0.55, 0.775))
    assert "55.00 to 77.50" in [column.show(first) for column in found.columns]


@pytest.mark.parametrize("wrong", ["much", {"accuracy": 0.5}, {"accuracy": "x", "low": 0, "high": 1}, [0.5, 0.4, 0.6]])
def test_an_audit_that_is_none_is_left_out(tmp_path, wrong):
    write_run(tmp_path / "a", [0.5, 0.6], seed=0, audit=lambda number: wrong)
    assert "audit" not in [table.name for table in make_tables(make_contents([tmp_path / "a"]))]


def test_penalties_and_ranks(contents, tables):
    matrix, rows = contents.penalties, find_table(tables, "penalties").rows
    assert [row["strategy"] for row in rows] == list(matrix.order)
    i, j = (matrix.strategies.index(name) for name in ("good", "random"))
    assert row_of(tables, "penalties", "good")["over random"] == matrix.values[i][j] > 0
    assert [row["strategy"] for row in find_table(tables, "ranking").rows] == list(contents.ranking.strategies)
    assert len(find_table(tables, "ranking-pairs").rows) == 10


def test_findings_claim_no_more_than_the_tests(contents):
    text = " ".join(find_findings(contents, "d"))
    assert "good has the highest mean AUBC" in text and "significantly above every other strategy" in text
    measure = "(points of AUBC, seeds on which it is higher)"
    gap = row_of(make_tables(contents), "accuracy", "good")["difference"]
    assert f"Better than random by test {measure}: good {points(gap)}, 5 of 5; picker +" in text
    assert f"Worse than random by test {measure}: bad<b>& \N{MINUS SIGN}" in text
    assert f"Not distinguishable from random {measure}: entropy" in text
    (over,) = find_findings_over_datasets(contents)
    assert "cannot show" in over
    assert in_one_sentence(contents) == "5 strategies on d and e, 5 seeds, from 10 labels to 50 in 4 rounds: 50 runs."


def test_text_claims_no_more_than_was_tested(contents, tables):
    from deepal_autoal.report.figure_list import Drawings

    assert "has the lowest median (not tested) of labels needed" in " ".join(find_findings(contents, "d"))
    words = {drawing.kind: drawing.how_to_read for drawing in Drawings(contents).of("d")}
    for kind in ("deltas", "learning-curves"):
        assert "With few seeds these intervals are too narrow" in words[kind] and "p (Holm)" in words[kind]
    (interval,) = (column for column in find_table(tables, "accuracy").columns if column.key == "aubc_low")
    assert "too narrow" in interval.how
    assert "each curve's own mean" in words["learning-curves"] and "figure above" in words["learning-curves"]
    assert "by chance" not in words["learning-curves"] and "no better on average" in words["time-against-accuracy"]


def test_few_seeds_support_no_claim(tmp_path):
    contents = make_contents([write_study(tmp_path / "a", {"random": 0.0, "good": 0.12}, seeds=range(3))])
    text = " ".join(find_findings(contents, "d"))
    assert "too few common seeds" in text and "nothing is tested" in text and "may be chance" in text
    assert "by test" not in text and "significant" not in text
    row = row_of(make_tables(contents), "accuracy", "good")
    assert row["verdict"] == "too few seeds" and row["p"] is None and row["p_holm"] is None


def test_a_mean_over_fewer_seeds_is_not_the_best(tmp_path):
    out = write_study(tmp_path / "a", {"random": 0.0, "good": 0.05}, datasets=["d"])
    write_study(tmp_path / "b", {"lucky": 0.12}, datasets=["d"], seeds=range(2))
    contents = make_contents([out, tmp_path / "b"])
    assert find_findings(contents, "d")[0].startswith("good has the highest mean AUBC of those with all 5 seeds, ")
    tables = make_tables(contents)
    assert {name: row_of(tables, "accuracy", name)["standing"] for name in ("good", "lucky")} == {
        "good": "best", "lucky": "",
    }  # fmt: skip
    assert "of those with the most seeds is in bold" in find_table(tables, "accuracy").note
    write_study(tmp_path / "c", {"random": 0.0, "good": 0.05}, datasets=["d"], seeds=[6])
    shutil.rmtree(tmp_path / "c/d/good")
    shutil.rmtree(tmp_path / "a/d/random/seed-0")
    line = find_findings(make_contents([tmp_path / name for name in "abc"]), "d")[0]
    assert "of those with the most seeds, 5 of 6, " in line


def test_strategies_and_datasets_left_out_of_the_ranking_are_named(tmp_path):
    write_study(tmp_path / "a", {"random": 0.0, "good": 0.05}, datasets=["d", "e", "f"], seeds=range(2))
    write_study(tmp_path / "b", {"alone": 0.05}, datasets=["d"], seeds=range(2))
    shutil.rmtree(tmp_path / "a/f/good/seed-0")
    shutil.rmtree(tmp_path / "a/f/random/seed-1")
    lines = find_findings_over_datasets(make_contents([tmp_path / "a", tmp_path / "b"]))
    assert "over 2 datasets" in lines[0]
    assert lines[1:] == [
        "Not ranked: alone, which was not run on every dataset.",
        "Ranks leave out f, where the ranked strategies have no seed in common.",
    ]
    shutil.rmtree(tmp_path / "a/e")
    contents = make_contents([tmp_path / "a", tmp_path / "b"])
    (line,) = find_findings_over_datasets(contents)
    assert contents.ranking is None and line.startswith("Nothing is ranked over the datasets")
    assert "ranking" not in {table.name for table in make_tables(contents)}


def test_without_the_baseline(tmp_path):
    contents = make_contents([write_study(tmp_path / "a", {"good": 0.1, "entropy": 0.0}, datasets=["d"])])
    assert "random" not in " ".join(find_findings(contents, "d"))
    tables = make_tables(contents)
    assert row_of(tables, "accuracy", "good")["difference"] is None
    for name in ("accuracy", "cost"):
        part = find_table(tables, name).on("d")
        assert part.columns and "random" not in " ".join([part.note, *(column.title for column in part.columns)])
    assert "labels_needed" in find_table(tables, "cost").keys
    other = make_contents([tmp_path / "a"], baseline="entropy")
    assert "Better than entropy by test" in " ".join(find_findings(other, "d"))


def test_ties_have_no_winner_and_nouns_match_counts(tmp_path):
    for strategy in ("random", "a"):
        write_run(tmp_path / "s/d" / strategy / "seed-0", [0.5, 0.6], seed=0, strategy=strategy)
    write_run(tmp_path / "s/e/random/seed-0", [0.5, 0.6, 0.7], seed=0, rounds=2, dataset={"fingerprint": "e"})
    contents = make_contents([tmp_path / "s"])
    tables = make_tables(contents)
    assert find_findings(contents, "d")[0] == "All strategies have the same mean AUBC, 55.00%."
    accuracy = find_table(tables, "accuracy")
    assert {row["standing"] for row in accuracy.on("d").rows} == {""} and "underlined" not in accuracy.note
    assert "from 10 labels to between 20 and 30 in 1 to 2 rounds" in in_one_sentence(contents)
    (reached,) = (column for column in find_table(tables, "cost").columns if column.key == "seeds_reached")
    assert reached.show(row_of(tables, "cost", "a")) == "1 of 1 seed"


def test_a_single_run(tmp_path):
    contents = make_contents([write_run(tmp_path / "a", [0.5, 0.6], seed=0)])
    assert find_findings(contents, "d") == [] and contents.ranking is None
    assert {table.name for table in make_tables(contents)} >= {"accuracy", "cost", "runs", "settings", "versions"}


def test_no_folder_of_this_machine_is_shown(tables):
    shown = [str(value) for table in tables for row in table.rows for value in row.values()]
    assert not [value for value in shown if "somewhere" in value]
    assert any("--out study" in value for value in shown) and any(value == "d.npz" for value in shown)


def test_folders_are_left_out_wherever_they_appear(tmp_path):
    home = "/home/alice lives"
    candidates = [{"name": "badge", "options": {"at": ["~/alice/b.pt", 3]}}]
    changes = {
        "command": ["deepal", f"--out={home}/x", "../../alice/d", f"m=badge[w={home}/m.pt,k=1]", r"C:\Users\alice\y",
                    "file:///home/alice/z.csv", "torchvision/resnet18", "https://example.org/a/b"],
        "plugin_options": {"cache": f"{home}/cache"},
        "model": {"name": "m", "options": {"checkpoint": f"{home}/c.pt"}},
    }  # fmt: skip
    for dataset, name in (("d", "w.pt"), ("e", "other.pt")):
        path = write_run(tmp_path / "s" / dataset / "vote/seed-0", [0.5, 0.6], seed=0, **changes) / "config.json"
        config = json.loads(path.read_text())
        config["strategy"] |= {"name": "vote", "options": {"weights": f"{home}/{name}"}, "candidates": candidates}
        path.write_text(json.dumps(config))
    write_run(tmp_path / "alice" / "begun", [0.5], seed=0, finished=False)
    contents = make_contents([tmp_path / "s", tmp_path / "alice" / "begun"])
    shown = [str(value) for table in make_tables(contents) for row in table.rows for value in row.values()]
    assert not [value for value in [*shown, *contents.study.notes] if "alice" in value]
    command = "deepal --out=x d m=badge[w=m.pt,k=1] y z.csv torchvision/resnet18 https://example.org/a/b"
    assert {command, "cache", "begun", "vote[weights=w.pt, candidates=[badge[at=['b.pt', 3]]]]"} <= set(shown)
    assert "m[checkpoint=c.pt], None parameters" in shown


def test_every_shown_column_has_an_explanation_and_raw_values(tables):
    for table in tables:
        for row in table.rows:
            assert set(table.keys) - {"dataset"} <= set(row), table.name
            assert all(isinstance(column.show(row), str) for column in table.columns)
        if table.name in ("accuracy", "wins", "cost", "penalties", "runs"):
            assert all(column.how for column in table.columns), table.name


def test_formatted_numbers():
    assert percent(0.93125) == "93.12" and percent(None) == "\N{EN DASH}"
    assert points(0.0123) == "+1.23" and points(-0.0123) == "\N{MINUS SIGN}1.23" and points(-0.00001) == "0.00"
    assert p_value(0.0499) == "0.050" and p_value(0.0001) == "< 0.001"
    assert [ratio(value) for value in (0.5, 12.34, 170.2)] == ["0.50", "12.3", "170"]


def test_lists_of_names():
    assert [listed(["a", "b", "c"][:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more" and joined(["a", "b", "c"], 2) == "a; b; and 1 more"
    assert format_seeds({"a": [0]}) == "1 seed" and format_seeds({"a": [0, 1], "b": [0, 1, 2]}) == "2 to 3 seeds"


def test_csv_round_trip(tables):
    from deepal_autoal.report.text_formats import to_csv

    rows = list(csv.DictReader(to_csv(find_table(tables, "accuracy")).splitlines()))
    assert len(rows) == 10 and rows[0]["dataset"] == "d"
    assert float(rows[0]["aubc_mean"]) == row_of(tables, "accuracy", "good")["aubc_mean"]
