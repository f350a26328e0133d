"""Models and protocols as dimensions of a grid, and a study in a file."""

import pytest

from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.benchmark.notation import Task, read_tasks
from deepal_autoal.errors import InputError, UnknownNameError
from tests.benchmark.run_files import read_csv, read_json, runs_of


def test_labels_name_what_varies():
    assert read_tasks("digits") == {"digits": Task("digits")}
    assert read_tasks(["digits", "mnist"], "linear,mlp") == {
        "digits-linear": Task("digits", "linear"), "digits-mlp": Task("digits", "mlp"),
        "mnist-linear": Task("mnist", "linear"), "mnist-mlp": Task("mnist", "mlp"),
    }  # fmt: skip
    assert read_tasks("cifar10", ["resnet18[stem=cifar,maxpool=true]"]) == {
        "cifar10-resnet18-stem-cifar-maxpool-true": Task("cifar10", "resnet18[stem=cifar,maxpool=true]")
    }
    assert read_tasks(None, None, "deepal+/cifar10,autoal/cifar100") == {
        "deepal+-cifar10": Task("cifar10", None, "deepal+/cifar10"),
        "autoal-cifar100": Task("cifar100", None, "autoal/cifar100"),
    }
    assert read_tasks("digits", None, ["deepal+/cifar10"]) == {
        "digits-deepal+-cifar10": Task("digits", None, "deepal+/cifar10")
    }


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (("digits", "lineer"), UnknownNameError, "'linear'"),
        ((None, None, "deepal+/cifar"), UnknownNameError, r"deepal\+/cifar10"),
        (("digits", "mlp,linear,mlp"), InputError, "'?mlp'? is given twice"),
        (("", None, None), InputError, "no datasets given"),
        (("digits", "resnet18[stem=cifar],resnet18[stem=cifar,]"), InputError, "share the folder"),
    ],
)
def test_bad_tasks(arguments, error, message):
    with pytest.raises(error, match=message):
        read_tasks(*arguments)


def test_each_model_has_its_own_folders_and_rows(tmp_path, blob_file, quick):
    del quick["model"]
    run_benchmark("random,margin", [blob_file], 2, tmp_path, models=["linear"], **quick)
    assert len(runs_of(tmp_path)) == 4
    result = run_benchmark("random,margin", [blob_file], 2, tmp_path, models="linear,mlp", **quick)
    assert result.failures == () and len(runs_of(tmp_path)) == 8
    for model in ("linear", "mlp"):
        config = read_json(tmp_path / f"blobs-{model}/margin/seed-1/config.json")
        assert config["model"]["name"] == model and config["dataset"]["name"] == "blobs"
    assert {row["dataset"] for row in read_csv(tmp_path / "results.csv")} == {"blobs-linear", "blobs-mlp"}


def test_one_for_all_excludes_several(tmp_path, blob_file, quick):
    for name, several in (("model", {"models": "mlp"}), ("protocol", {"protocols": "deepal+/cifar10"})):
        with pytest.raises(InputError, match=f"--{name} and --{name}s"):
            run_benchmark("random", [blob_file], 1, tmp_path, **{**quick, name: "linear"}, **several)


def test_a_table_of_strategies_in_a_file(deepal, tmp_path, blob_file, monkeypatch):
    monkeypatch.setattr("deepal_autoal.report.write_report", lambda out: out)
    (tmp_path / "study.toml").write_text(
        f'datasets = ["{blob_file}"]\nmodels = ["linear", "mlp"]\nseeds = 1\nepochs = 2\nmin-steps = 4\ninitial = 10\n'
        'rounds = 1\njobs = 1\n[strategies]\nplain = "margin"\n'
        'wide = "vote[final=diverse,oversample=3,candidates=[entropy,margin]]"\n'
    )
    status, _, err = deepal("benchmark", "--config", "study.toml", "--out", "b")
    assert status == 0, err
    labels = ("blobs-linear/plain", "blobs-linear/wide", "blobs-mlp/plain", "blobs-mlp/wide")
    assert runs_of(tmp_path / "b") == [f"{label}/seed-0" for label in labels]
    assert read_json(tmp_path / "b/blobs-mlp/wide/seed-0/config.json")["strategy"]["options"]["oversample"] == 3
    (tmp_path / "study.toml").write_text('[strategies]\nplain = "margin"\n')
    status, _, err = deepal("run", "--config", "study.toml")
    assert status == 2 and "strategies" in err
