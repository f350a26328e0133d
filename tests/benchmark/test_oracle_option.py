"""Oracles in a benchmark: they share its pool, are marked, and only count for regret."""

import subprocess
import sys

import pytest

from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.benchmark.notation import read_oracles, read_strategies
from deepal_autoal.errors import InputError, RunFolderError, UnknownNameError
from deepal_autoal.oracles import read_trials
from deepal_autoal.report import make_contents, write_report
from deepal_autoal.report.findings import find_findings, in_one_sentence
from deepal_autoal.report.tables.all_tables import make_tables
from tests.benchmark.run_files import read_csv, read_json, runs_of

ORACLES = "alike=best[candidates=[margin]],small=greedy[tau=2]"


@pytest.fixture
def study(blob_file, tmp_path, quick):
    """Return a function that runs a tiny benchmark with oracles; its attribute is the folder."""

    def call(strategies="random,margin", oracle=ORACLES, seeds=2, **more):
        settings = {**quick, "rounds": 1, **more}
        return run_benchmark(strategies, [blob_file], seeds, study.out, oracle=oracle, **settings)

    study = call
    study.out = tmp_path / "out"
    return study


def test_oracles_run_beside_strategies_and_count_for_regret_only(study, tmp_path):
    study()
    labels = ["margin", "oracle-alike", "oracle-small", "random"]
    assert runs_of(study.out) == [f"blobs/{label}/seed-{seed}" for label in labels for seed in (0, 1)]
    configs = {label: read_json(study.out / "blobs" / label / "seed-0" / "config.json") for label in labels}
    assert {config["pool_size"] for config in configs.values()} == {96}
    assert configs["oracle-small"]["strategy"]["name"] == "oracle-greedy"
    assert len({tuple(config["initial"]) for config in configs.values()}) == 1
    assert len(read_trials(study.out / "blobs/oracle-small/seed-0")) == 1

    rows = {row["strategy"]: row for row in read_csv(study.out / "summary.csv")}
    for label in labels:
        is_counted = not label.startswith("oracle-")
        assert (rows[label]["wins"] != "") is is_counted
        if is_counted:
            assert sum(int(rows[label][word]) for word in ("wins", "ties", "losses")) == 2  # one rival, two seeds
    # An oracle over one candidate is that candidate.
    alike = [rows["margin"][f"regret_oracle-alike{end}"] for end in ("", "_low", "_high")]
    assert [float(value) for value in alike] == [0.0, 0.0, 0.0]
    areas = {label: float(row["aubc_mean"]) for label, row in rows.items()}
    for label in ("margin", "random", "oracle-alike"):
        regret = float(rows[label]["regret_oracle-small"])
        assert regret == pytest.approx(areas["oracle-small"] - areas[label])
    assert rows["oracle-small"]["regret_oracle-small"] == ""

    contents = make_contents([study.out])
    found = contents.by_dataset["blobs"]
    assert set(found.compared) == {"margin", "random"} and set(found.order) == set(labels)
    assert {name for pair in found.pairs for name in (pair.ours, pair.theirs)} == {"margin", "random"}
    assert set(contents.penalties.strategies) == set(
        contents.ranking.strategies if contents.ranking else found.compared
    )
    tables = {table.name: table for table in make_tables(contents)}
    assert {row["strategy"] for row in tables["wins"].rows} == {"margin", "random"}
    assert {row["verdict"] for row in tables["accuracy"].rows if row["strategy"].startswith("oracle-")} == {"oracle"}
    assert {(row["strategy"], row["oracle"]) for row in tables["regret"].rows} == {
        (strategy, oracle) for strategy in labels for oracle in ("oracle-alike", "oracle-small") if strategy != oracle
    }
    assert in_one_sentence(contents).startswith("2 strategies and 2 oracles on blobs")
    assert any("oracle-alike sees hidden labels" in line for line in find_findings(contents, "blobs"))
    assert "oracle-small" in write_report(study.out).read_text()
    with pytest.raises(InputError, match="is an oracle"):
        make_contents([study.out], "oracle-small")

    # Repeating runs nothing; a strategy that is added has the same pool, though no oracle asks for it again.
    again = []
    study(on_run=again.append)
    assert not again
    study("entropy", oracle=None, on_run=again.append)
    assert [outcome.failure for outcome in again] == [None, None]
    assert read_json(study.out / "blobs/entropy/seed-0/config.json")["pool_size"] == 96


def test_without_oracles_nothing_changes_and_they_cannot_be_added_without_a_third_split(study):
    study(oracle=None, seeds=1)
    assert "regret" not in (study.out / "summary.csv").read_text().splitlines()[0]
    assert "regret" not in {table.name for table in make_tables(make_contents([study.out]))}
    with pytest.raises(RunFolderError, match="the whole training split as its pool"):
        study(seeds=1)


def test_a_pool_size_leaves_the_rest_to_oracles(study):
    study("random", oracle="small=greedy[tau=1]", seeds=1, pool_size=40)
    (found,) = read_trials(study.out / "blobs/oracle-small/seed-0")
    assert len(found.third_split) == 80
    with pytest.raises(InputError, match=r"--pool-size 120.*give at most 96"):
        study("random", pool_size=120, seeds=1)


def test_estimates_know_oracles(study, monkeypatch):
    monkeypatch.setattr("deepal_autoal.benchmark.cost.estimates._DRY_RUN_SECONDS", 0.1)
    seen = []
    study("margin", oracle="small=greedy[tau=2]", seeds=1, dry_run=True, on_estimate=seen.append)
    (estimates,) = seen
    costs = {run.strategy: estimates.of(run) for run in estimates._grid.runs}
    assert not estimates.failures
    # Twelve trainings in the query, where the run itself has two.
    assert costs["oracle-small"].query > 2 * costs["oracle-small"].train > 0
    assert costs["margin"].query < costs["oracle-small"].query


@pytest.mark.parametrize(
    "written, message",
    [
        ("bos", "boss"),
        ("best,best", "two are labeled 'oracle-best'"),
        ("best[candidates=[margn]]", "margin"),
        ("a/b=best", "safe folder name"),
        ("a_low=best", "name columns"),
    ],
)
def test_mistyped_oracles_are_explained(written, message):
    with pytest.raises((InputError, UnknownNameError), match=message):
        read_oracles(written)


def test_labels_of_oracles_are_theirs_alone(deepal):
    found = read_oracles("best,few=boss[batches=3],oracle-greedy,previous[candidates=[typiclass,margin]]")
    assert [(item.label, item.strategy) for item in found] == [
        ("oracle-best", "oracle-best"), ("oracle-few", "oracle-boss"), ("oracle-greedy", "oracle-greedy"),
        ("oracle-previous-candidates-typiclass-margin", "oracle-previous"),
    ]  # fmt: skip
    with pytest.raises(InputError, match="those of oracles"):
        read_strategies("oracle-x=margin")
    with pytest.raises(InputError, match="--oracle NAME"):
        read_strategies("oracle-best")
    assert deepal("benchmark", "--strategies", "random", "--oracle", "bos")[0] == 2


def test_reading_oracles_needs_no_torch():
    code = (
        "import sys; from deepal_autoal.benchmark.notation import read_oracles; read_oracles('boss[batches=2]'); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
