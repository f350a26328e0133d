"""One definition of a setting: the command line, Python and records agree with it."""

import inspect
import typing

import click
import pytest

from deepal_autoal import run
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.cli.main import cli
from deepal_autoal.errors import InputError, RunFolderError, UnknownNameError
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
