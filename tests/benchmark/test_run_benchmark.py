"""Grids of runs: files on disk, growth, resuming, failures, and tables checked against run folders."""

import json
import re
import shutil
import statistics

import numpy as np
import pytest

import deepal_autoal.experiment.loop
from deepal_autoal import Dataset, Strategy, plugin_host, run
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.benchmark.grid import plan_grid
from deepal_autoal.errors import InputError, PluginError, RunFolderError, UnknownNameError
from deepal_autoal.report.study import read_study
from deepal_autoal.training.task_model import TaskModel
from tests.benchmark.run_files import content, read_csv, read_json, read_rounds, runs_of, untimed

RESULT_COLUMNS = "dataset,strategy,seed,round,n_labeled,accuracy,train_s,query_s"
SUMMARY_COLUMNS = (
    "dataset,strategy,aubc_mean,aubc_std,aubc_low,aubc_high,final_accuracy_mean,wins,ties,losses,relative_time"
)


@pytest.fixture
def grid(blob_file, tmp_path, quick):
    """Return a function that runs a tiny grid on blobs."""

    def call(strategies, seeds=2, out="out", datasets=None, **more):
        return run_benchmark(strategies, [blob_file] if datasets is None else datasets, seeds, tmp_path / out,
                             **{**quick, **more})  # fmt: skip

    return call


def test_every_cell_is_a_run_folder_like_that_of_run(grid, tmp_path, blob_file, quick):
    started = []
    result = grid("random,vote", seeds="0,2", candidates="entropy,margin", on_start=started.append,
                  command=["deepal", "benchmark"])  # fmt: skip
    out = tmp_path / "out"
    expected = [f"blobs/{label}/seed-{seed}" for label in ("random", "vote") for seed in (0, 2)]
    assert runs_of(out) == expected and result.failures == () and started == [result.grid]
    alone = run("vote", blob_file, candidates=["entropy", "margin"], seed=2, out=tmp_path / "alone", **quick)
    assert untimed(out / "blobs/vote/seed-2") == untimed(tmp_path / "alone")
    config = read_json(out / "blobs/vote/seed-2/config.json")
    assert config["strategy"] == alone.config["strategy"] and config["command"] == ["deepal", "benchmark"]
    assert config["settings"]["dataset"] == str(blob_file)
    # `run` can continue it alone.
    assert run(out=out / "blobs/vote/seed-2", resume=True).rounds == read_rounds(out / "blobs/vote/seed-2")


def test_runs_are_ordered_by_seed_so_finished_runs_are_paired(grid):
    order = []
    grid("margin,random", on_run=lambda outcome: order.append((outcome.run.strategy, outcome.run.seed)))
    assert order == [("margin", 0), ("random", 0), ("margin", 1), ("random", 1)]


def test_a_result_is_shown_in_one_line(grid, tmp_path):
    assert repr(grid("margin", seeds=1)) == f"BenchmarkResult(runs=1, failed=0, out={str(tmp_path / 'out')!r})"


def test_tables_match_the_run_folders(grid, tmp_path, plugins):
    grid("entropy,low=first[sign=-1],random", seeds=3)
    out = tmp_path / "out"
    lines = (out / "results.csv").read_text().splitlines()
    assert lines[0] == RESULT_COLUMNS and len(lines) == 1 + 3 * 3 * 4
    rows = read_csv(out / "results.csv")
    key = [(row["dataset"], row["strategy"], int(row["seed"]), int(row["round"])) for row in rows]
    assert key == sorted(key) and {row["dataset"] for row in rows} == {"blobs"}
    areas, finals, times = {}, {}, {}
    for label in ("entropy", "low", "random"):
        for seed in range(3):
            records = read_rounds(out / "blobs" / label / f"seed-{seed}")
            mine = [row for row in rows if row["strategy"] == label and row["seed"] == str(seed)]
            assert [float(row["accuracy"]) for row in mine] == [record["accuracy"] for record in records]
            assert [int(row["n_labeled"]) for row in mine] == [12, 18, 24, 30]
            for phase in ("train", "query"):
                assert [float(row[f"{phase}_s"]) for row in mine] == [r["seconds"][phase] for r in records]
            a = [record["accuracy"] for record in records]
            areas[label, seed] = ((a[0] + a[1]) / 2 + (a[1] + a[2]) / 2 + (a[2] + a[3]) / 2) / 3
            finals[label, seed] = a[-1]
            times[label, seed] = sum(
                s for record in records for phase, s in record["seconds"].items() if "." not in phase
            )
    assert (out / "summary.csv").read_text().splitlines()[0] == SUMMARY_COLUMNS
    summary = read_csv(out / "summary.csv")
    assert [row["strategy"] for row in summary] == ["entropy", "low", "random"]
    assert len({areas[key] for key in areas}) > 4  # otherwise the comparisons below prove little
    for row in summary:
        label = row["strategy"]
        own = [areas[label, seed] for seed in range(3)]
        assert float(row["aubc_mean"]) == pytest.approx(sum(own) / 3)
        assert float(row["aubc_std"]) == pytest.approx(statistics.stdev(own))
        assert min(own) <= float(row["aubc_low"]) <= float(row["aubc_mean"]) <= float(row["aubc_high"]) <= max(own)
        assert float(row["final_accuracy_mean"]) == pytest.approx(sum(finals[label, s] for s in range(3)) / 3)
        differences = [
            areas[label, s] - areas[other, s] for s in range(3) for other in ("entropy", "low", "random")
            if other != label
        ]  # fmt: skip
        assert int(row["wins"]) == sum(d > 0.005 for d in differences)
        assert int(row["losses"]) == sum(d < -0.005 for d in differences)
        assert int(row["ties"]) == sum(abs(d) <= 0.005 for d in differences)
        total = {name: sum(times[name, s] for s in range(3)) for name in ("entropy", label)}
        assert float(row["relative_time"]) == pytest.approx(total[label] / total["entropy"])


def test_one_seed_and_no_entropy_leave_undefined_cells_empty(grid, tmp_path):
    grid("random", seeds=1)
    (row,) = read_csv(tmp_path / "out" / "summary.csv")
    assert row["aubc_low"] == row["aubc_mean"] == row["aubc_high"]
    assert row["aubc_std"] == row["relative_time"] == ""
    assert (row["wins"], row["ties"], row["losses"]) == ("0", "0", "0")


def test_repeating_changes_nothing_and_growing_keeps_existing_runs(grid, tmp_path, plugins):
    grid("random", seeds=1)
    out = tmp_path / "out"
    before = content(out / "blobs/random/seed-0")
    tables = {name: (out / name).read_bytes() for name in ("results.csv", "summary.csv")}
    done = []
    grid("random", seeds=1, on_run=done.append)
    assert not done and content(out / "blobs/random/seed-0") == before
    assert tables == {name: (out / name).read_bytes() for name in tables}
    grid("first", seeds=2, on_run=done.append)
    assert [str(outcome.run) for outcome in done] == ["first on blobs, seed 0", "first on blobs, seed 1"]
    grid("random,first", seeds=2, on_run=done.append)
    assert len(done) == 3 and content(out / "blobs/random/seed-0") == before
    rows = read_csv(out / "results.csv")
    assert {(row["strategy"], row["seed"]) for row in rows} == {(s, n) for s in ("random", "first") for n in "01"}


def test_a_kill_in_the_middle_loses_at_most_one_round(grid, tmp_path):
    strategies = "random,v4=vote[power=4]"

    def kill(planned, record):
        if (planned.strategy, planned.seed, record["round"]) == ("v4", 0, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grid(strategies, candidates=["entropy", "margin"], on_round=kill)
    out = tmp_path / "out"
    assert runs_of(out) == ["blobs/random/seed-0"]
    assert {row["strategy"] for row in read_csv(out / "results.csv")} == {"random"}
    assert len(read_rounds(out / "blobs/v4/seed-0")) == 2
    finished = content(out / "blobs/random/seed-0")
    rounds = []
    grid(
        strategies,
        candidates=["entropy", "margin"],
        on_round=lambda planned, record: rounds.append((str(planned), record["round"])),
    )
    assert rounds[:2] == [("v4 on blobs, seed 0", 2), ("v4 on blobs, seed 0", 3)] and len(rounds) == 2 + 8
    assert content(out / "blobs/random/seed-0") == finished
    grid(strategies, candidates=["entropy", "margin"], out="whole")
    for folder in runs_of(tmp_path / "whole"):
        assert untimed(out / folder) == untimed(tmp_path / "whole" / folder)


def test_a_failing_run_is_reported_and_stops_no_other(grid, tmp_path, plugins, monkeypatch):
    def fails(self, context):
        raise ZeroDivisionError("nothing to divide by")

    outcomes = []
    cls = plugin_host().strategies.load("broken")
    monkeypatch.setattr(cls, "score", fails)
    result = grid("broken,random", on_run=outcomes.append)
    out = tmp_path / "out"
    assert [outcome.failure is None for outcome in outcomes] == [False, True, False, True]
    assert [str(outcome.run) for outcome in result.failures] == ["broken on blobs, seed 0", "broken on blobs, seed 1"]
    failure = result.failures[0].failure
    assert "strategy 'broken'" in failure and "ZeroDivisionError: nothing to divide by" in failure
    assert runs_of(out) == ["blobs/random/seed-0", "blobs/random/seed-1"]
    assert {row["strategy"] for row in read_csv(out / "summary.csv")} == {"random"}
    # Once the plugin is fixed, the same call continues where it failed.
    monkeypatch.setattr(cls, "score", lambda self, context: context.candidates.probabilities()[:, 0])
    rounds = []
    result = grid("broken,random", on_round=lambda planned, record: rounds.append(record["round"]))
    assert result.failures == () and rounds == [0, 1, 2, 3, 0, 1, 2, 3]
    assert {row["strategy"] for row in read_csv(out / "summary.csv")} == {"broken", "random"}


def test_a_strategy_that_chose_batches_with_other_code_is_not_continued(grid, plugins, monkeypatch):
    assert len(grid("broken", seeds=1).failures) == 1  # in round 1
    cls = plugin_host().strategies.load("broken")
    monkeypatch.setattr(cls, "score", lambda self, context: context.candidates.probabilities()[:, 0])
    with pytest.raises(RunFolderError, match=r"strategy\.code was"):
        grid("broken", seeds=1)


@pytest.mark.parametrize("error", [MemoryError("too large"), SystemExit(3), KeyError("x"), RunFolderError("no\nroom")])
def test_any_exception_of_a_run_is_its_own_failure(grid, monkeypatch, error):
    original = deepal_autoal.experiment.loop.run

    def sometimes(**settings):
        if settings["strategy"] == "margin":
            raise error
        return original(**settings)

    monkeypatch.setattr(deepal_autoal.experiment.loop, "run", sometimes)
    result = grid("margin,random", seeds=1)
    (outcome,) = result.failures
    expected = "no room" if isinstance(error, RunFolderError) else f"{type(error).__name__}: {error}"
    assert outcome.failure == expected and [run.strategy for run in result.tables.runs] == ["random"]


def test_a_plugin_that_fails_before_training_stops_no_other_run(grid, register):
    class NoTrainer(Strategy):
        def query(self, context, batch_size):
            return context.candidates.indices[:batch_size]

        def wrap_trainer(self, trainer):
            raise IndexError("out of trainers")

    register(strategies={"no-trainer": NoTrainer})
    result = grid("no-trainer,random", seeds=1)
    assert ["out of trainers" in outcome.failure for outcome in result.failures] == [True]
    assert [run.strategy for run in result.tables.runs] == ["random"]


def test_different_settings_are_refused_and_the_difference_is_reported(grid, tmp_path, quick, plugins):
    grid("random,low=first[sign=-1],vote", seeds=1, candidates=["entropy", "margin"])
    out = tmp_path / "out"
    before = {folder: content(out / folder) for folder in runs_of(out)}
    changes = [
        ({"rounds": 2}, "rounds was 3 and is now 2"),
        ({"initial": 10}, "initial was 12 and is now 10"),
        ({"batch_size": 4}, "batch_size was 6 and is now 4"),
        ({"pool_size": 60}, "pool_size was 120 and is now 60"),
        ({"model": "mlp"}, "model.name was 'linear' and is now 'mlp'"),
        ({"epochs": 4}, "recipe.epochs was 3 and is now 4"),
        ({"recipe": {"optimizer": "sgd", "min_steps": 5}}, "recipe.optimizer was 'adam' and is now 'sgd'"),
        ({"threads": 2}, "threads was 1 and is now 2"),
        ({"scaling": "l2"}, "scaling was 'global' and is now 'l2'"),
        ({"plugin_options": {"patience": "2"}}, "plugin_options was None and is now"),
    ]
    for change, message in changes:  # also for strategies that are not requested again
        with pytest.raises(RunFolderError, match=message):
            grid("margin", seeds=1, **change)
    with pytest.raises(RunFolderError, match=r"strategy.options.sign was -1 and is now 1"):
        grid("margin,low=first[sign=1]", seeds=1)
    with pytest.raises(RunFolderError, match=r"strategy.name was 'first' and is now 'margin'"):
        grid("low=margin", seeds=3)
    with pytest.raises(RunFolderError, match=r"strategy.candidates.1.name was 'margin' and is now 'kmeans'"):
        grid("vote", seeds=3, candidates=["entropy", "kmeans"])
    assert {folder: content(out / folder) for folder in runs_of(out)} == before
    config = read_json(out / "blobs/random/seed-0/config.json")
    del config["checksum"]
    (out / "blobs/random/seed-0/config.json").write_text(json.dumps({**config, "device": "cuda:5"}))
    with pytest.raises(RunFolderError, match="device was 'cuda:5' and is now"):
        grid("margin", seeds=1)


def test_added_runs_get_the_defaults_of_the_first(grid, tmp_path):
    grid("random", seeds=1, recipe={"min_steps": 5, "learning_rate": 0.02})
    path = tmp_path / "out/blobs/random/seed-0/config.json"
    config = read_json(path)
    del config["checksum"]
    del config["settings"]["recipe"]["learning_rate"]  # as if it had been the default then
    path.write_text(json.dumps(config))
    grid("random", seeds=2)
    assert read_json(tmp_path / "out/blobs/random/seed-1/config.json")["recipe"]["learning_rate"] == 0.02
    with pytest.raises(RunFolderError, match=r"recipe.learning_rate was 0.02 and is now 0.003"):
        grid("random", seeds=2, recipe={"min_steps": 5, "learning_rate": 0.003})


def test_different_data_of_the_same_name_are_refused(grid, tmp_path, blob_file):
    grid("random", seeds=1)
    with np.load(blob_file) as saved:
        arrays = {**saved, "x": saved["x"] + 1}
    (tmp_path / "b").mkdir()
    data = tmp_path / "b" / "blobs.npz"
    np.savez(data, **arrays)
    with pytest.raises(RunFolderError, match=r"dataset.fingerprint was"):
        grid("margin", seeds=1, datasets=[data])


def test_threads_of_earlier_runs_are_used_again(grid, tmp_path, quick):
    grid("random", seeds=1, threads=2)
    grid("random,margin", seeds=1, threads=None)
    assert read_json(tmp_path / "out/blobs/margin/seed-0/config.json")["threads"] == 2


@pytest.mark.parametrize(
    "strategies, more, message",
    [
        ("entrpy", {}, "Did you mean 'entropy'"),
        ("random,vote[oversampl=3]", {}, "Did you mean 'oversample'"),
        ("random,vote[oversample=x]", {}, "not of type int"),
        ("random,vote", {"candidates": ["margn"]}, "Did you mean 'margin'"),
        ("random,vote", {"candidates": ["entropy", "vote"]}, "its own candidate"),
        ("random", {"candidates": ["entropy"]}, "takes candidates"),
        ("random,vote[kmeans.x=1]", {"candidates": ["entropy"]}, "not among the candidates"),
        ("random", {"model": "liner"}, "Did you mean 'linear'"),
        ("random", {"model": "cnn"}, "cnn"),
        ("random", {"datasets": ["digts"]}, "Did you mean 'digits'"),
        ("random", {"datasets": ["digits", "nowhere.npz"]}, "on nowhere: there is no file"),
        ("random", {"rounds": 100}, "at most --rounds 18"),
        ("random", {"initial": 0}, "--initial 0"),
        ("random", {"pool_size": 500}, "--pool-size 500"),
        ("random", {"threads": 0}, "--threads 0"),
        ("random", {"device": "abacus"}, "abacus"),
        ("random", {"recipe": {"optimizer": "adamm"}}, "adamm"),
        ("random", {"epoch": 3}, "Did you mean 'epochs'"),
        ("random", {"plugin_options": {"tensorbord": True}}, "tensorbord"),
        ("random,lpl", {}, "stages"),
        ("random", {"seeds": "0,0"}, "--seeds 0,0"),
    ],
)
def test_foreseeable_errors_are_raised_before_any_run(grid, tmp_path, strategies, more, message):
    with pytest.raises(InputError) as raised:
        grid(strategies, **more)
    assert message in str(raised.value) and not (tmp_path / "out").exists()


def no_dropout(input_shape, n_classes):
    import torch

    return TaskModel(torch.nn.Flatten(), input_shape[0], n_classes, dropout=0.0)


def test_all_leaves_out_what_cannot_run_and_says_why(tmp_path, blob_file, quick, register, plugins):
    class Picky(Strategy):
        def __init__(self, needed: int) -> None:
            pass

        def query(self, context, batch_size):
            return context.candidates.indices[:batch_size]

    register(models={"plain": no_dropout}, strategies={"picky": Picky, "gone": "no_such_module:Gone"})
    settings = {**quick, "model": "plain"}
    grid = plan_grid("all", [blob_file], 2, tmp_path / "out", None, settings)
    left_out = {label: str(line) for line in grid.left_out for label in line.strategies}
    requires = {entry.name: entry.details["requires"] for entry in plugin_host().strategies.entries()}
    without = {name for name, needs in requires.items() if "mc_dropout" in needs}
    assert {"bald", "autoal"} <= without
    # lpl taps stages; a selector requires what its candidates require
    assert without | {"lpl", "picky", "gone"} <= set(left_out)
    for line in {left_out[name] for name in without}:
        assert line.startswith("left out on blobs: ") and "requires mc_dropout, but the model 'plain'" in line
    assert "or --candidates without dropout passes" in left_out["autoal"] and left_out["bald"] != left_out["vote"]
    assert "needs the option 'needed'" in left_out["picky"] and "no_such_module" in left_out["gone"]
    kept = {run.strategy for run in grid.runs}
    assert {"random", "entropy", "badge", "first", "broken"} <= kept
    assert kept | set(left_out) == set(plugin_host().strategies.names()) and not kept & set(left_out)
    assert len(grid.runs) == 2 * len(kept)
    with pytest.raises(InputError, match="requires mc_dropout"):  # a named strategy is not left out
        plan_grid("bald,all", [blob_file], 2, tmp_path / "out", None, settings)
    for candidates in (None, ["entropy"]):
        with pytest.raises(PluginError, match="no_such_module"):
            plan_grid("gone", [blob_file], 2, tmp_path / "out", candidates, settings)
    grid = plan_grid("all", [blob_file], 1, tmp_path / "out", ["entropy", "margin"], settings)
    candidates = {run.strategy: run.settings["candidates"] for run in grid.runs}
    assert candidates["vote"] == ("entropy", "margin") and candidates["badge"] is None


def test_all_is_resolved_for_each_dataset(tmp_path, blob_file, quick, register):
    class NoVectors(Strategy):
        def query(self, context, batch_size):
            return context.candidates.indices[:batch_size]

        def wrap_trainer(self, trainer):
            if len(trainer.new_objective().model.input_shape) == 1:
                raise InputError("it needs images")
            return trainer

    register(strategies={"no-vectors": NoVectors})
    grid = plan_grid("all", ["digits", blob_file], 1, tmp_path / "out", None, quick)
    left_out = [(line.dataset, line.strategies) for line in grid.left_out if "no-vectors" in line.strategies]
    assert left_out == [("blobs", ("no-vectors",))]
    assert [run.dataset for run in grid.runs if run.strategy == "no-vectors"] == ["digits"]


def test_several_datasets_from_files_and_registered(grid, tmp_path, blob_file, blob_data, register):
    x, y = blob_data.x_test, blob_data.y_test
    register(datasets={"few": lambda data_dir: Dataset("few", x, y, x, y, ("a", "b", "c"))})
    other = tmp_path / "my data.v2.npz"
    shutil.copy(blob_file, other)
    order = []
    result = grid("random", seeds=2, datasets=[other, "few"], on_run=lambda outcome: order.append(str(outcome.run)))
    assert order == [f"random on {label}, seed {seed}" for seed in (0, 1) for label in ("my-data-v2", "few")]
    assert runs_of(tmp_path / "out") == sorted(
        f"{label}/random/seed-{seed}" for label in ("few", "my-data-v2") for seed in (0, 1)
    )
    assert [row["dataset"] for row in result.tables.summary()] == ["few", "my-data-v2"]


def test_folders_that_hold_something_else(grid, tmp_path, blob_file, quick):
    run("random", blob_file, out=tmp_path / "run", **quick)
    with pytest.raises(RunFolderError, match="holds a run"):
        grid("random", out="run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "results.csv").write_text("my,own,results\n")
    with pytest.raises(RunFolderError, match=r"results.csv is not a benchmark's table"):
        grid("random", out="mine")
    assert (tmp_path / "mine" / "results.csv").read_text() == "my,own,results\n"
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["results.csv"]
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot write to"):
        grid("random", out="file")


def test_damaged_runs_are_named(grid, tmp_path):
    grid("random", seeds=1)
    folder = tmp_path / "out/blobs/random/seed-0"
    whole = (folder / "rounds.jsonl").read_text()
    (folder / "rounds.jsonl").write_text(whole[:-20])
    with pytest.raises(RunFolderError, match=r"seed-0/rounds.jsonl"):
        grid("random", seeds=1)
    (folder / "rounds.jsonl").unlink()
    with pytest.raises(RunFolderError, match="seed-0 is damaged"):
        grid("random", seeds=1)


def test_tables_are_up_to_date_after_every_run(grid, tmp_path):
    seen = []

    def look(outcome):
        rows = read_csv(tmp_path / "out" / "results.csv")
        seen.append(len({(row["strategy"], row["seed"]) for row in rows}))

    grid("random,margin", on_run=look)
    assert seen == [1, 2, 3, 4]


def test_unknown_names_of_settings_are_refused(grid):
    with pytest.raises(UnknownNameError, match="batchsize"):
        grid("random", batchsize=3)


def test_the_scaling_is_that_of_existing_runs(tmp_path, blob_file, quick):
    """Also of runs recorded before scaling was an option, which scaled by feature."""
    run_benchmark("random", [blob_file], 1, tmp_path, scaling="feature", **quick)
    path = tmp_path / "blobs/random/seed-0/config.json"
    config = json.loads(path.read_text())
    del config["scaling"], config["scaling_reason"], config["settings"]["scaling"], config["checksum"]
    path.write_text(json.dumps(config))
    run_benchmark("random,margin", [blob_file], 1, tmp_path, **quick)
    assert read_json(tmp_path / "blobs/margin/seed-0/config.json")["scaling"] == "feature"
    with pytest.raises(InputError, match="for vectors"):
        run_benchmark("random", ["digits"], 1, tmp_path / "images", scaling="global", **quick)


def test_all_runs_are_scaled_as_in_the_estimate(tmp_path, blob_file, quick):
    grid = plan_grid("random,margin", [blob_file], 2, tmp_path, None, quick)
    assert {run.setup.scaling for run in grid.runs} == {"global"}
    run_benchmark("random,margin", [blob_file], 2, tmp_path, **quick)
    configs = [read_json(path) for path in tmp_path.rglob("config.json")]
    assert [config["scaling"] for config in configs] == ["global"] * 4


def test_a_benchmark_on_images_takes_up_further_strategies(tmp_path, image_data, quick, monkeypatch):
    monkeypatch.setattr("deepal_autoal.benchmark.checks.load_dataset", lambda *_, **__: image_data)
    monkeypatch.setattr("deepal_autoal.experiment.loop.load_dataset", lambda *_, **__: image_data)
    for strategies in ("random", "random,margin"):
        result = run_benchmark(strategies, ["digits"], 1, tmp_path / "out", **{**quick, "model": "linear"})
        assert not result.failures, result.failures
    assert len(runs_of(tmp_path / "out")) == 2


def test_earlier_runs_keep_their_options_under_a_protocol(tmp_path, image_data, quick, monkeypatch):
    """An earlier version's protocols had no options of strategies; further seeds are run like the first."""
    monkeypatch.setattr("deepal_autoal.benchmark.checks.load_dataset", lambda *_, **__: image_data)
    monkeypatch.setattr("deepal_autoal.experiment.loop.load_dataset", lambda *_, **__: image_data)
    settings = {**quick, "model": "linear", "protocol": "deepal+/mnist", "rounds": 1}
    with monkeypatch.context() as earlier:
        earlier.setattr("deepal_autoal.experiment.protocols.Protocol.options_of", lambda self, _, __, given: {**given})
        run_benchmark("coreset", ["digits"], 1, tmp_path / "out", **settings)
    result = run_benchmark("coreset,new=coreset", ["digits"], 2, tmp_path / "out", **settings)
    assert not result.failures and len(result.tables.runs) == 4
    found = {
        path.parent.parent.name + path.parent.name: read_json(path)["strategy"]["options"]["pca"]
        for path in (tmp_path / "out").rglob("config.json")
    }
    assert found == {"coresetseed-0": None, "coresetseed-1": None, "newseed-0": 32, "newseed-1": 32}
    with pytest.raises(RunFolderError, match=r"strategy.options.pca was None and is now 5"):
        run_benchmark("coreset=coreset[pca=5]", ["digits"], 2, tmp_path / "out", **settings)


def test_more_rounds_extend_a_benchmark(grid, tmp_path):
    grid("random,margin", seeds=2, out="whole")
    first = grid("random,margin", seeds=2, rounds=1)
    assert {run.n_labeled for run in first.tables.runs} == {(12, 18)}
    again = grid("random,margin", seeds=2)
    assert again.failures == () and {len(run.n_labeled) for run in again.tables.runs} == {4}
    for folder in runs_of(tmp_path / "whole"):
        assert untimed(tmp_path / "out" / folder) == untimed(tmp_path / "whole" / folder)
    rows, expected = (
        [{key: value for key, value in row.items() if not key.endswith("_s")}
         for row in read_csv(tmp_path / out / "results.csv")]
        for out in ("out", "whole")
    )  # fmt: skip
    assert rows == expected


def test_a_benchmark_is_extended_as_a_whole_or_not_at_all(grid, tmp_path):
    grid("random,albl", seeds=1, candidates="entropy,margin", rounds=2)
    out = tmp_path / "out"
    before = {folder: content(out / folder) for folder in runs_of(out)}
    with pytest.raises(RunFolderError, match="rounds 2: --rounds 3 extends all runs on a dataset or none"):
        grid("random", seeds=1)
    with pytest.raises(RunFolderError, match=r"albl/seed-0 \(strategy 'albl' plans with the number.*Delete .*albl "):
        grid("random,albl", seeds=1, candidates="entropy,margin")
    with pytest.raises(RunFolderError, match="rounds was 2 and is now 1"):
        grid("random,albl", seeds=1, candidates="entropy,margin", rounds=1)
    now = {folder: content(out / folder) for folder in runs_of(out)}
    assert {name: {k: v for k, v in files.items() if k != ".lock"} for name, files in now.items()} == {
        name: {k: v for k, v in files.items() if k != ".lock"} for name, files in before.items()
    }


def test_a_benchmark_with_a_strategy_that_plans_ahead_is_extended_as_its_error_says(grid, tmp_path):
    grid("random,albl", seeds=2, candidates="entropy,margin", rounds=1)
    with pytest.raises(RunFolderError, match="cannot be extended: ") as caught:
        grid("random,albl", seeds=2, candidates="entropy,margin")
    message = str(caught.value)
    assert "albl/seed-0, " in message and "albl/seed-1 (strategy" in message and "\n" not in message
    (named,) = re.findall("Delete (.*) and repeat the command", message)
    shutil.rmtree(named)
    again = grid("random,albl", seeds=2, candidates="entropy,margin")
    assert again.failures == () and len(again.tables.runs) == 4
    assert {len(run.n_labeled) for run in again.tables.runs} == {4}
    assert {"random", "albl"} == set(read_study([tmp_path / "out"]).strategies)


def test_stopped_runs_can_be_reported_with_extended_ones(grid, tmp_path):
    stopping = {"plugin_options": {"target_accuracy": 0.01}}
    grid("random", seeds=1, rounds=1, **stopping)
    again = grid("random,margin", seeds=1, **stopping)
    assert again.failures == () and {len(run.n_labeled) for run in again.tables.runs} == {1}
    rounds = [read_json(tmp_path / "out" / folder / "config.json")["rounds"] for folder in runs_of(tmp_path / "out")]
    assert rounds == [3, 3]
