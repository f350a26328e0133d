"""One definition of a setting: the command line, Python and records agree with it."""

import inspect
import json
import typing

import click
import numpy as np
import pytest

from deepal_autoal import run
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.cli.main import cli
from deepal_autoal.errors import InputError, RunFolderError, UnknownNameError
from deepal_autoal.experiment.live_run import LiveRun
from deepal_autoal.files import read_json
from deepal_autoal.report.study import PAIRED_BY, read_study
from deepal_autoal.run_settings import COMPARED, RunArguments, RunSettings, definitions
from deepal_autoal.training.recipe import Recipe

RUN, TRAINING = definitions(RunSettings), definitions(Recipe)


def options(command):
    return {parameter.name for parameter in cli.commands[command].get_params(click.Context(cli.commands[command]))}


def test_type_checkers_know_every_setting():
    assert {*typing.get_type_hints(RunArguments)} == {*RUN, *TRAINING} - {"strategy", "dataset"}


def test_help_shows_every_setting():
    assert {*RUN, *TRAINING} <= {*inspect.signature(run).parameters}


def test_commands_have_an_option_for_each_setting_with_a_help_text():
    shown = {name for name, found in {**RUN, **TRAINING}.items() if found.help}
    assert {*RUN, *TRAINING} - shown == {"options", "recipe", "plugin_options", "momentum"}
    assert shown <= options("run")
    shared = {name for name in shown if {**RUN, **TRAINING}[name].is_shared}
    assert shared <= options("benchmark") and "seed" not in options("benchmark")


def test_training_settings_have_the_same_names_in_python_and_on_the_command_line(blob_data, quick):
    one = run("random", blob_data, **{**quick, "rounds": 0, "epochs": 2, "min_steps": 7, "augmentation": "none"})
    assert (one.config["recipe"]["epochs"], one.config["recipe"]["min_steps"]) == (2, 7)
    other = run("random", blob_data, **{**quick, "rounds": 0, "epochs": None, "recipe": {"epochs": 2, "min_steps": 7}})
    assert one.config["recipe"] == other.config["recipe"] and one.accuracy == other.accuracy


def test_epochs_alone_are_obeyed_at_every_door(deepal, image_data, tmp_path, monkeypatch):
    quick = {"model": "cnn", "initial": 6, "batch_size": 2, "rounds": 0, "threads": 1}
    data = image_data
    np.savez(tmp_path / "halves.npz", x=data.x_train, y=data.y_train, x_test=data.x_test, y_test=data.y_test)
    (tmp_path / "epochs.toml").write_text("epochs = 2\n")
    typed = [part for name, value in quick.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    steps = []
    trained = LiveRun._notify

    def notify(self, hook, **arguments):
        if hook == "deepal_model_trained":
            steps.append((arguments["metrics"]["epochs"], arguments["metrics"]["steps"]))
        return trained(self, hook, **arguments)

    monkeypatch.setattr(LiveRun, "_notify", notify)
    for number, given in enumerate((["--epochs", "2"], ["--config", "epochs.toml"])):
        status, _, err = deepal("run", "--dataset", "halves.npz", "--out", f"r{number}", *typed, *given)
        assert status == 0 and "training: 2 epochs\n" in err
        recipe = read_json(tmp_path / f"r{number}" / "config.json")["recipe"]
        assert (recipe["epochs"], recipe["min_steps"]) == (2, 0)
    run("random", data, epochs=2, **quick)
    run("random", data, recipe={"epochs": 2}, **quick)
    run("random", data, protocol="deepal+/mnist", epochs=2, augmentation="none", **quick)
    run_benchmark("random", [tmp_path / "halves.npz"], 1, tmp_path / "b", epochs=2, **quick)
    assert steps == [(2, 2)] * 6
    status, _, err = deepal(
        "run", "--dataset", "halves.npz", "--out", "r3", *typed, "--epochs", "2", "--min-steps", "5"
    )
    assert status == 0 and steps[-1] == (5, 5)
    assert "training: 2 epochs, but at least 5 steps: 5 epochs with 6 labels\n" in err


def test_a_run_from_before_keeps_its_minimum_of_steps(tmp_path, blob_data, quick):
    """Its record has the default minimum beside the epochs that were given."""
    quick = {**quick, "model": "mlp", "recipe": {}, "rounds": 1}
    whole = run("random", blob_data, out=tmp_path / "run", **{**quick, "min_steps": 7})
    config = read_json(tmp_path / "run/config.json")
    del config["settings"]["recipe"]["min_steps"]
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    assert run("random", blob_data, out=tmp_path / "run", resume=True, **quick).rounds == whole.rounds
    assert config["recipe"]["min_steps"] == 7


def test_unknown_setting_suggests_the_nearest(blob_data):
    with pytest.raises(UnknownNameError, match="batch_size"):
        run("random", blob_data, batchsize=5)


@pytest.mark.parametrize("recipe", ["abc", 5, ["epochs"]])
def test_a_recipe_that_is_not_a_mapping_is_refused(blob_data, recipe):
    with pytest.raises(InputError, match="recipe is"):
        run("random", blob_data, recipe=recipe)


def test_a_compared_setting_without_an_entry_of_its_own_must_agree(tmp_path, blob_file, quick, monkeypatch):
    """As a setting that is added with ``compared_as`` and nothing else."""
    for module in ("experiment.resume_checks", "benchmark.checks"):
        monkeypatch.setattr(f"deepal_autoal.{module}.COMPARED", (*COMPARED, "data_dir"))
    monkeypatch.setattr("deepal_autoal.report.study.PAIRED_BY", (*PAIRED_BY, "data_dir"))
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    run("random", blob_file, out=tmp_path / "one", **quick, data_dir=here)
    run("random", blob_file, out=tmp_path / "one", resume=True)
    with pytest.raises(RunFolderError, match=r"data_dir was .*here' and is now .*there'"):
        run("random", blob_file, out=tmp_path / "one", resume=True, data_dir=there)
    run_benchmark("random", [blob_file], 1, tmp_path / "several", **quick, data_dir=here)
    run_benchmark("margin", [blob_file], 1, tmp_path / "several", **quick, data_dir=here)
    with pytest.raises(RunFolderError, match=r"data_dir was .*here' and is now .*there'"):
        run_benchmark("entropy", [blob_file], 1, tmp_path / "several", **quick, data_dir=there)
    run("margin", blob_file, out=tmp_path / "two", **quick, data_dir=there)
    with pytest.raises(InputError, match=r"data_dir is .*here' and .*there'"):
        read_study([tmp_path / "one", tmp_path / "two"])
