"""Round 0 is trained once per seed, and only its time shows that."""

import json

import pytest
import torch
from torch import nn

import deepal_autoal.training.trainer
from deepal_autoal import run
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.benchmark.schedule import SHARED_FOLDER
from deepal_autoal.experiment.run_config import RunConfig
from deepal_autoal.experiment.shared_round_0 import InitialModel
from deepal_autoal.training.task_model import TaskModel
from tests.benchmark.run_files import read_rounds, untimed


@pytest.fixture
def trainings(monkeypatch):
    """The numbers of labeled samples of all trainings so far."""
    sizes = []
    original = deepal_autoal.training.trainer.Trainer.fit

    def fit(self, labeled, *args, **kwargs):
        sizes.append(len(labeled.indices))
        return original(self, labeled, *args, **kwargs)

    monkeypatch.setattr(deepal_autoal.training.trainer.Trainer, "fit", fit)
    return sizes


def test_round_0_is_trained_once_for_strategies_that_do_not_change_training(tmp_path, blob_file, quick, trainings):
    out = tmp_path / "out"
    settings = {**quick, "model": "mlp", "rounds": 2}
    run_benchmark("random,margin,lpl,badge", [blob_file], 2, out, **settings)
    n = settings["initial"]
    # One for each of two seeds, and lpl's own.
    assert trainings.count(n) == 2 * 2 and len(trainings) == 2 * (2 + 4 * 2)
    for strategy in ("random", "margin", "lpl", "badge"):
        alone = tmp_path / "alone" / strategy
        run(strategy, blob_file, seed=1, out=alone, **settings)
        assert untimed(out / "blobs" / strategy / "seed-1") == untimed(alone)
    assert not list(out.rglob("*.pt.*")) and not list((out / "blobs").glob(".*"))


def test_shared_seconds_are_those_of_the_training(tmp_path, blob_file, quick):
    run_benchmark("random,margin", [blob_file], 1, tmp_path, **quick)
    first, second = (read_rounds(tmp_path / f"blobs/{name}/seed-0")[0]["seconds"] for name in ("random", "margin"))
    assert "train.shared" not in first
    for phase in ("train", "evaluate"):
        assert second[phase] == second[f"{phase}.shared"] == first[phase] > 0


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"initial": 9}, {"epochs": 7}, {"model": "mlp"}, {"label_noise": 0.5}, {"imbalance": "1:2"}]
)
def test_a_model_with_other_settings_is_not_used(tmp_path, blob_file, quick, trainings, change):
    file = tmp_path / "shared.pt"
    for settings, n_trainings in (({}, 1), (change, 1), (change, 0)):
        trainings.clear()
        run("random", blob_file, initial_model=file, **{**quick, "rounds": 0, **settings})
        assert len(trainings) == n_trainings


def test_a_damaged_file_is_reported_and_replaced(tmp_path, blob_file, quick, caplog):
    file = tmp_path / "shared.pt"
    whole = run("random", blob_file, initial_model=file, **quick)
    config = whole.config
    file.write_bytes(file.read_bytes()[:-200])
    again = run("random", blob_file, initial_model=file, **quick)
    assert again.accuracy == whole.accuracy and "cannot read" in caplog.text and "trained again" in caplog.text
    assert InitialModel(file).read(RunConfig.from_json(config, file))["accuracy"] == whole.rounds[0]["accuracy"]
    other = json.loads(json.dumps(config))
    other["versions"]["torch"] = "0.0"
    assert InitialModel(file).read(RunConfig.from_json(other, file)) is None


class Forgetful(nn.Module):
    """Holds state outside its state_dict."""

    def __init__(self, in_features):
        super().__init__()
        self.register_buffer("projection", torch.randn(in_features, 8), persistent=False)

    def forward(self, x):
        return x @ self.projection


def test_a_model_with_state_outside_its_state_dict_is_not_shared(tmp_path, blob_file, quick, register):
    register(models={"forgetful": lambda shape, n_classes: TaskModel(Forgetful(*shape), 8, n_classes)})
    settings = {**quick, "model": "forgetful"}
    run_benchmark("random,margin", [blob_file], 1, tmp_path / "out", **settings)
    run("margin", blob_file, out=tmp_path / "alone", **settings)
    assert untimed(tmp_path / "out/blobs/margin/seed-0") == untimed(tmp_path / "alone")


def test_leftovers_of_a_killed_benchmark_are_not_used(tmp_path, blob_file, quick, trainings):
    file = tmp_path / "blobs" / SHARED_FOLDER / "seed-0.pt"
    run("random", blob_file, initial_model=file, **quick)
    trainings.clear()
    run_benchmark("random,margin", [blob_file], 1, tmp_path, **quick)
    assert trainings.count(quick["initial"]) == 1 and not file.exists()


def test_a_file_that_cannot_be_written_only_costs_time(tmp_path, blob_file, quick, caplog):
    (tmp_path / "taken").write_text("")
    result = run("random", blob_file, initial_model=tmp_path / "taken" / "seed-0.pt", **quick)
    assert result.status == "finished" and "round 0 is not shared" in caplog.text
