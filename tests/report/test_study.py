"""Reading and merging: which runs may be compared, which are refused, and the messages."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.experiment.results import read_results
from deepal_autoal.report.study import read_study
from tests.report.made_up_studies import GAINS, write_run, write_study, write_table


def test_reads_runs_records_and_weights(study_folder):
    study = read_study([study_folder])
    assert len(study.results.runs) == len(study.records) == 2 * 5 * 5
    assert study.strategies == tuple(sorted(GAINS))
    assert study.notes == () and study.unfinished == ()
    weights = study.weights("d")
    assert list(weights) == ["picker"]
    assert weights["picker"][3][1] == pytest.approx({"one": 0.35, "two": 0.65}) and weights["picker"][3][-1] is None
    assert study.records["d", "good", 0].first_picks == tuple(range(20, 30))


def test_places_are_merged_and_duplicates_count_once(tmp_path):
    write_study(tmp_path / "a", {"random": 0.0}, datasets=["d"])
    write_study(tmp_path / "b", {"good": 0.1}, datasets=["d"])
    write_study(tmp_path / "c", {"good": 0.1}, datasets=["e"])
    alone = write_run(tmp_path / "alone", [0.5, 0.6, 0.7, 0.8, 0.9], seed=9, strategy="alone",
                      dataset={"name": "d", "fingerprint": "dddd"})  # fmt: skip
    study = read_study([tmp_path / "a", tmp_path / "b", tmp_path / "a", tmp_path / "c", alone, alone])
    assert len(study.results.runs) == 5 + 5 + 5 + 1
    assert set(study.results.on("d")) == {"random", "good", "alone"}


def test_two_different_runs_of_the_same_name_are_refused(tmp_path):
    for place, last in (("a", 0.7), ("b", 0.8)):
        write_run(tmp_path / place / "d" / "random" / "seed-0", [0.5, last], seed=0)
    with pytest.raises(InputError, match="two different runs of random on d, seed 0") as caught:
        read_study([tmp_path / "a", tmp_path / "b"])
    assert str(tmp_path / "a") in str(caught.value) and str(tmp_path / "b") in str(caught.value)


@pytest.mark.parametrize("read", [read_results, lambda place: read_study([place]).results])
def test_tables_and_reports_merge_a_folder_of_runs_alike(tmp_path, read):
    for place in ("one", "two"):
        write_study(tmp_path / "all" / place, {"random": 0.0, "good": 0.1}, datasets=["d"])
    found = read(tmp_path / "all")
    assert len(found.runs) == 5 + 5 and "two" not in str([run.folder for run in found.runs])
    folder = tmp_path / "all" / "two" / "d" / "good" / "seed-1"
    shutil.rmtree(folder)
    write_run(folder, [0.5, 0.6, 0.7, 0.8, 0.9], seed=1, strategy="good", batch_size=7)
    with pytest.raises(InputError, match=r"two runs of good on d, seed 1 .* had different settings: .*batch_size"):
        read(tmp_path / "all")
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"settings": {', '"settings": [], "other": {'))
    with pytest.raises(RunFolderError, match="damaged: settings is not an object"):
        read(tmp_path / "all")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 20}, "batch_size is 10 and 20"),
        ({"dataset": {"fingerprint": "other"}}, "dataset.fingerprint is 'f00' and 'other'"),
        ({"initial": [1] * 10}, "the initial sets of seed 0 differ"),
        ({"recipe": {"epochs": 7, "optimizer": "adam", "augmentation": []}}, "recipe.epochs is 5 and 7"),
        ({"model": {"name": "mlp", "options": {}, "embedding_dim": 4, "n_parameters": 10}}, "'linear' and 'mlp'"),
        ({"threads": 2}, "threads is 1 and 2"),
        ({"device": "cuda:0"}, "device is 'cpu' and 'cuda:0'"),
        ({"precision": "bfloat16"}, "precision is 'float32' and 'bfloat16'"),
    ],
)
def test_different_settings_are_refused_and_named(tmp_path, changes, message):
    write_run(tmp_path / "a" / "d" / "random" / "seed-0", [0.5, 0.7], seed=0)
    write_run(tmp_path / "b" / "d" / "good" / "seed-0", [0.5, 0.8], seed=0, strategy="good", **changes)
    with pytest.raises(InputError) as caught:
        read_study([tmp_path / "a", tmp_path / "b"])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_different_settings_are_named_before_different_numbers(tmp_path):
    """Two studies of the same strategies with different settings have different numbers too."""
    recipe = {"epochs": 20, "optimizer": "adam", "augmentation": []}
    write_run(tmp_path / "a" / "d" / "random" / "seed-0", [0.5, 0.7], seed=0)
    write_run(tmp_path / "b" / "d" / "random" / "seed-0", [0.5, 0.8, 0.9], seed=0, recipe=recipe)
    with pytest.raises(InputError, match=r"recipe.epochs is 5 and 20; rounds is 1 and 2|rounds is 1 and 2; .*epochs"):
        read_study([tmp_path / "a", tmp_path / "b"])


def test_one_label_with_two_meanings(tmp_path):
    write_run(tmp_path / "a" / "d" / "vote" / "seed-0", [0.5, 0.7], seed=0, strategy="vote")
    write_run(tmp_path / "b" / "d" / "vote" / "seed-1", [0.5, 0.8], seed=1, strategy="vote")
    assert len(read_study([tmp_path / "a", tmp_path / "b"]).results.runs) == 2
    config = tmp_path / "b" / "d" / "vote" / "seed-1" / "config.json"
    config.write_text(config.read_text().replace('"options": {}, "requires"', '"options": {"scores": 1}, "requires"'))
    with pytest.raises(InputError, match=r"strategy.options.scores is None and 1"):
        read_study([tmp_path / "a", tmp_path / "b"])
    shutil.move(tmp_path / "b" / "d", tmp_path / "b" / "e")  # on another dataset it is only reported
    (note,) = read_study([tmp_path / "a", tmp_path / "b"]).notes
    assert note.startswith("vote is not the same on d and on e: strategy.options.scores is None and 1")


def test_different_versions_are_reported(tmp_path):
    write_run(tmp_path / "a" / "d" / "random" / "seed-0", [0.5, 0.7], seed=0)
    write_run(tmp_path / "a" / "d" / "good" / "seed-0", [0.5, 0.8], seed=0, strategy="good", versions={"torch": "2.9"})
    notes = read_study([tmp_path / "a"]).notes
    assert any("torch" in note and "2.6" in note and "2.9" in note for note in notes)


def test_bare_tables(tmp_path, study_folder):
    runs = [run for run in read_study([study_folder]).results.runs if run.strategy in ("random", "good")]
    table = write_table(tmp_path / "results.csv", runs)
    alone = read_study([table])
    assert len(alone.results.runs) == 20 and "no settings" in alone.notes[0]
    # If a run's folder is given too, the folder counts, and there is nothing to report.
    both = read_study([table, study_folder])
    assert both.notes == () and len(both.records) == 50
    part = write_study(tmp_path / "part", {"entropy": 0.0})
    (note,) = read_study([table, part]).notes
    assert "d, e" in note and "nothing shows that they may be paired" in note


def test_a_table_that_differs_from_the_folders_is_reported(tmp_path):
    out = write_study(tmp_path / "study", {"random": 0.0}, datasets=["d"])
    runs = read_study([out]).results.runs
    table = write_table(out / "results.csv", runs)
    assert read_study([out]).notes == ()
    text = table.read_text()
    for other in (text.rpartition("d,random,4,4")[0], text.replace(",1.0,0.5", ",2.0,0.5", 1), "a,b\n"):
        table.write_text(other)
        study = read_study([out])
        (note,) = study.notes
        assert study.results.runs == runs and note.startswith("study/results.csv differs from the run folders")


def test_unfinished_runs_are_listed(tmp_path):
    out = write_study(tmp_path / "a", {"random": 0.0}, datasets=["d"])
    folder = write_run(out / "d" / "good" / "seed-0", [0.5, 0.6], seed=0, strategy="good", finished=False, rounds=4)
    begun = write_run(tmp_path / "begun", [0.5], seed=0, strategy="good", finished=False)
    study = read_study([out, begun])
    assert [(item.folder, item.n_done, item.n_planned) for item in study.unfinished] == [(folder, 2, 5), (begun, 1, 1)]
    assert set(study.results.on("d")) == {"random"}
    with pytest.raises(RunFolderError, match="has finished"):
        read_study([begun])


def test_a_plugins_weights_that_are_not_numbers_are_ignored(tmp_path):
    write_run(tmp_path / "a", [0.5, 0.6], seed=0, weights=lambda number: {"one": "much"})
    assert read_study([tmp_path / "a"]).weights("d") == {}


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("initial", None), ("seed", "0"), ("seed", True), ("settings", []), ("dataset", "d"),
        ("dataset.source", "here"),
        ("dataset.changes", 1), ("dataset.input_shape", 4), ("strategy.options", None), ("strategy.candidates", {}),
        ("strategy.candidates", ["a"]), ("strategy.candidates", [{"options": 1}]), ("plugins", []), ("versions", None),
        ("model", "linear"), ("model.options", []), ("recipe", 3), ("command", "deepal"), ("plugin_options", "x"),
    ],
)  # fmt: skip
def test_damaged_settings_are_named(tmp_path, part, value):
    folder = write_run(tmp_path / "a" / "d" / "random" / "seed-0", [0.5, 0.7], seed=0)
    config = json.loads((folder / "config.json").read_text())
    above, _, key = part.rpartition(".")
    (config[above] if above else config)[key] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunFolderError, match=f"is damaged: {part}.* is not ") as caught:
        read_study([tmp_path / "a"])
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_a_single_damaged_run_is_refused(tmp_path):
    folder = write_run(tmp_path / "a", [0.5, 0.7], seed=0, dataset={"name": ["d"]})
    with pytest.raises(RunFolderError, match="damaged: its names are not strings"):
        read_study([folder])


def test_reading_does_not_import_torch(study_folder):
    code = (
        "import sys\nfrom deepal_autoal.report import make_contents\n"
        "from deepal_autoal.report.tables.all_tables import make_tables\n"
        f"make_tables(make_contents([{str(study_folder)!r}]))\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_runs_of_a_version_without_a_training_setting_are_compared(tmp_path):
    """Version 0.1.0 recorded no averaging, and trained as without it."""
    recipe = {"epochs": 5, "optimizer": "adam", "augmentation": []}
    write_run(tmp_path / "d" / "random" / "seed-0", [0.5, 0.6], seed=0, recipe=recipe)
    newer = write_run(tmp_path / "d" / "random" / "seed-1", [0.5, 0.6], seed=1, recipe={**recipe, "averaging": 0.0})
    assert len(read_study([tmp_path]).results.runs) == 2
    config = json.loads((newer / "config.json").read_text())
    config["recipe"]["averaging"] = 0.9
    (newer / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"recipe\.averaging is 0\.0 and 0\.9"):
        read_study([tmp_path])


def test_a_folder_of_runs_and_benchmarks_stands_for_them(tmp_path):
    runs = tmp_path / "runs"
    for seed in range(3):
        write_run(runs / f"2026-random-s{seed}", [0.5, 0.6], seed=seed)
        write_run(runs / f"2026-margin-s{seed}", [0.5, 0.7], seed=seed, strategy="margin", finished=seed < 2)
    write_study(runs / "benchmark", {"badge": 0.01}, datasets=["e"], seeds=range(2))
    (runs / "latest").symlink_to(runs / "2026-random-s2")
    (runs / "here").symlink_to(runs)
    (runs / "loop").symlink_to(runs / "loop")
    (runs / "notes").mkdir()
    study = read_study([runs])
    found = {dataset: {name: list(by) for name, by in study.results.on(dataset).items()} for dataset in "de"}
    assert found == {"d": {"margin": [0, 1], "random": [0, 1, 2]}, "e": {"badge": [0, 1]}}
    assert [item.folder.name for item in study.unfinished] == ["2026-margin-s2"]
    assert read_results(runs) == study.results
    with pytest.raises(RunFolderError, match=r"no run in .*empty has finished"):
        write_run(tmp_path / "empty" / "run", [0.5], seed=0, finished=False)
        read_study([tmp_path / "empty"])


def test_a_link_inside_a_benchmark_is_no_second_strategy(tmp_path):
    out = write_study(tmp_path / "study", {"random": 0.0, "good": 0.05}, datasets=["d"])
    (out / "d" / "again").symlink_to(out / "d" / "good")
    (out / "self").symlink_to(out)
    assert read_study([out]).strategies == ("good", "random")


def test_a_run_near_the_root_of_the_file_system(tmp_path, monkeypatch):
    """Whose folder has no benchmark's folder above it."""
    folder = write_run(tmp_path / "seed-0", [0.5, 0.6], seed=0)
    monkeypatch.setattr(os.path, "realpath", lambda path: "/seed-0")
    assert read_results(folder).runs[0].strategy == "random"


@pytest.mark.parametrize("name", ["x" * 300, "loop", "loop/run"])
def test_places_that_cannot_be_read_are_named(tmp_path, name):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises((InputError, RunFolderError), match=name[:3]):
        read_study([tmp_path / name])


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "results.csv")
    for place in (tmp_path, tmp_path / "results.csv"):
        with pytest.raises(RunFolderError, match=r"results.csv: .*it is a pipe or a socket, not a file"):
            read_study([place])


def test_a_table_saved_by_a_spreadsheet(tmp_path):
    """With a byte-order mark and carriage returns."""
    rows = "dataset,strategy,seed,round,n_labeled,accuracy,train_s,query_s\r\nd,random,0,0,10,0.5,1,1\r\n"
    (tmp_path / "results.csv").write_bytes(b"\xef\xbb\xbf" + rows.encode())
    assert read_results(tmp_path).runs[0].accuracy == (0.5,)
