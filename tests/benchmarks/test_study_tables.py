import csv
import json

import pytest
import results
import tables
from comparison import compare


@pytest.fixture
def make(tmp_path, study_line):
    """Return a function that writes lines and the tables, and returns their folder."""

    def call(lines, *arguments):
        path = tmp_path / "runs.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        tables.main(["--runs", str(path), "--out", str(tmp_path / "results"), *arguments])
        return tmp_path / "results"

    return call


@pytest.fixture
def lines(study_line):
    """Ours above random and below vote on two settings; a run of dbal failed."""
    made = []
    for setting, base in (("mnist-low", 0.6), ("cifar10-low", 0.4)):
        for seed in range(3):
            noise = 0.001 * seed * seed
            made += [
                study_line(setting, "autoal", seed, base + noise,
                           weights=[{"margin": 0.25 + 0.25 * seed, "kmeans": 0.75 - 0.25 * seed}]),
                study_line(setting, "random", seed, base - 0.05),
                study_line(setting, "vote", seed, base + 0.02, weights=[{"margin": 0.5, "kmeans": 0.5}]),
                study_line(setting, "hindsight", seed, base + 0.03, chosen=["kmeans" if seed else "margin"]),
            ]  # fmt: skip
    made.append({"setting": "mnist-low", "label": "dbal", "seed": 0, "key": "k", "failed": "so", "wall_s": 1.0})
    return made


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_compact_runs_round_trip(make, lines):
    runs = results.read_runs(make(lines) / results.RUNS_CSV)
    assert len(runs) == 24 and not [run for run in runs if run.label == "dbal"]
    run = next(run for run in runs if (run.setting, run.label, run.seed) == ("mnist-low", "autoal", 2))
    assert run.aubc == pytest.approx(0.604) and run.n_labeled == (30, 60)
    assert run.accuracy == pytest.approx((0.504, 0.704)) and run.seconds["query"] == 2.0


def test_the_later_of_two_runs_counts_and_mixtures_are_reported(make, study_line, capsys):
    folder = make([
        study_line("s", "autoal", 0, 0.5), study_line("s", "autoal", 0, 0.7, key="new"),
        study_line("s", "autoal", 1, 0.6),
        {"setting": "s", "label": "autoal", "seed": 1, "key": "k", "failed": "so", "wall_s": 1.0},
    ])  # fmt: skip
    assert [run.aubc for run in results.read_runs(folder / results.RUNS_CSV)] == [0.7, 0.6]
    assert "s autoal mixes runs" in capsys.readouterr().err


def test_differences_are_ours_minus_theirs(make, lines):
    rows = {(r["group"], r["setting"], r["label"]): r for r in rows_of(make(lines) / tables.DIFFERENCES_CSV)}
    random, vote = rows["core", "mnist-low", "random"], rows["core", "mnist-low", "vote"]
    assert float(random["difference"]) == pytest.approx(5 + 0.5 / 3, abs=1e-3) and random["seeds_above"] == "3"
    assert float(vote["difference"]) == pytest.approx(-2 + 0.5 / 3, abs=1e-3) and vote["seeds_above"] == "0"
    assert float(vote["high"]) < 0 < float(random["low"])
    p = {
        label: compare({0: 0.6, 1: 0.601, 2: 0.604}, dict.fromkeys(range(3), theirs)).p
        for label, theirs in (("random", 0.55), ("vote", 0.62))
    }
    # The group has only these two, so Holm's correction doubles the smaller p.
    assert float(random["p"]) == pytest.approx(p["random"], rel=1e-2)
    assert float(random["p_holm"]) == pytest.approx(2 * p["random"], rel=1e-2)
    assert float(vote["p_holm"]) == pytest.approx(max(2 * p["random"], p["vote"]), rel=1e-2)
    pooled = rows["core", tables.POOLED, "vote"]
    assert float(pooled["difference"]) == pytest.approx(-2 + 0.5 / 3, abs=1e-3)
    assert pooled["p"] == "" and pooled["seeds_above"] == "0"
    assert ("core", "mnist-low", "dbal") not in rows


def test_tables_show_losses_and_mark_the_oracle(make, lines):
    folder = make(lines)
    text = (folder / tables.TABLES_MD).read_text()
    core = text.partition("### What counts most: mnist-low")[2].partition("###")[0].strip().splitlines()
    assert [line.split("|")[1].strip() for line in core[2:]] == ["`vote`", "**`autoal`**", "`random`"]
    assert "| -1.83 (-2.00 … -1.60) |" in core[2] and core[2].endswith("| 0/3 |")
    assert "| 60.17 ± 0.21 |" in core[3]
    assert "`hindsight`, an oracle, not a strategy" in text
    overview = text.partition("## What counts most")[2].partition("###")[0]
    assert "| strategy | mnist-low | cifar10-low |" in overview
    assert "| `vote` | 62.00 | 42.00 | -1.83 (-2.00 … -1.60) | 0/2 | 0, 2 |" in overview
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    tables.main(["--out", str(folder)])  # from the compact runs alone
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_weights_by_round(make, lines):
    rows = {(r["label"], r["candidate"]): r for r in rows_of(make(lines) / results.WEIGHTS_CSV)
            if r["setting"] == "mnist-low"}  # fmt: skip
    assert rows["autoal", "margin"]["mean"] == "0.5000" and rows["autoal", "margin"]["std"] == "0.2500"
    assert rows["hindsight", "kmeans"]["mean"] == "0.6667" and rows["hindsight", "kmeans"]["seeds"] == "3"
    assert ("vote", "margin") not in rows


def test_tables_without_runs_are_refused(tmp_path):
    with pytest.raises(SystemExit, match="--runs"):
        tables.main(["--out", str(tmp_path)])


def test_plots_are_small_and_repeatable(make, lines):
    pytest.importorskip("matplotlib")
    import plots

    folder = make(lines)
    plots.main(["--results", str(folder)])
    drawn = {path.name: path.read_bytes() for path in folder.glob("*.svg")}
    assert {"curves.svg", "weights-autoal.svg", "weights-hindsight.svg", "differences-core.svg"} <= set(drawn)
    assert max(map(len, drawn.values())) < 200_000
    plots.main(["--results", str(folder)])
    assert {path.name: path.read_bytes() for path in folder.glob("*.svg")} == drawn


def test_only_given_seeds_are_read(tmp_path, study_line):
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps(study_line("s", "autoal", seed, 0.5)) + "\n" for seed in range(6)))
    tables.main(["--runs", str(path), "--seeds", "2-4", "--out", str(tmp_path / "results")])
    assert [run.seed for run in results.read_runs(tmp_path / "results" / results.RUNS_CSV)] == [2, 3, 4]


def test_only_the_chosen_groups_are_compared(make, lines):
    every = {row["group"] for row in rows_of(make(lines) / tables.DIFFERENCES_CSV)}
    assert every == {"core", "main", "pools", "oracle"}
    folder = make(lines, "--groups", "main")
    assert {row["group"] for row in rows_of(folder / tables.DIFFERENCES_CSV)} == {"main"}
    assert tables.TITLES["core"] not in (folder / tables.TABLES_MD).read_text()
    with pytest.raises(SystemExit, match="no group 'nonsense'"):
        make(lines, "--groups", "nonsense")
