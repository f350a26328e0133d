"""The diagnosis of what the search learns, on toy data."""

import numpy as np
import pytest
import torch
from diagnosis import Diagnosis, diagnose, path_of, table
from plan import SETTINGS, Setting

CANDIDATES = ["margin", "random"]
TOY = Setting("toy", "blobs", "linear", 12, 6, 2, None, recipe={"epochs": 3, "min_steps": 30})


@pytest.fixture
def rows(blob_file):
    return diagnose(TOY, blob_file, 0, CANDIDATES, {"steps": "5", "warmup_steps": "2"})


def test_all_scores_are_compared_in_every_round(rows):
    names = ["margin", "random", "vote", "autoal", "frozen"]
    assert [(row["round"], row["score"]) for row in rows] == [(k, name) for k in range(2) for name in names]
    assert all(-1 <= row[what] <= 1 for row in rows for what in ("loss", "gain", "overlap"))
    assert all(row["overlap"] == 1 for row in rows if row["score"] == "vote")
    known = {row["score"]: row["loss"] for row in rows if row["round"] == 1}
    assert known["margin"] > known["random"]
    assert known["margin"] > 0.5
    lines = table(rows)
    assert sum("toy" in line for line in lines) == 3


def test_the_gain_matches_finite_differences(blob_data, monkeypatch):
    """The reference is the change of the mean test loss after a small step on one sample."""
    found = []
    truth = Diagnosis._truth

    def check(self, context):
        loss, gain = truth(self, context)
        head, view = context.model.module.head, context.candidates
        weight, bias = head.weight.detach(), head.bias.detach()
        test, labels = self.test_inputs, torch.as_tensor(blob_data.y_test)
        own = torch.as_tensor(blob_data.y_train[view.indices])
        for j in range(3):
            residual = view.probabilities()[j] - torch.nn.functional.one_hot(own[j], 3)
            step = 1e-3
            moved = test @ (weight - step * residual[:, None] * view.embeddings()[j]).T + bias - step * residual
            before = torch.nn.functional.cross_entropy((test @ weight.T + bias).double(), labels)
            after = torch.nn.functional.cross_entropy(moved.double(), labels)
            found.append(((before - after) / step - gain[j]).item())
            found.append((loss[j] + view.log_probabilities()[j, own[j]]).item())
        return loss, gain

    monkeypatch.setattr(Diagnosis, "_truth", check)
    from deepal_autoal import run
    from deepal_autoal.training.inputs import Inputs

    strategy = Diagnosis(blob_data, CANDIDATES, {"steps": 2, "warmup_steps": 1})

    def take(active):
        inputs = Inputs(blob_data.x_test, active.learner.normalization, active.learner.device)
        strategy.test_inputs = inputs.batch(np.arange(len(inputs)))

    run(strategy, blob_data, model="linear", initial=12, batch_size=6, rounds=1, epochs=3, on_start=take)
    assert len(found) == 6 and max(map(abs, found)) < 0.01


def test_files_of_settings(tmp_path):
    assert path_of(tmp_path, SETTINGS["mnist-imbalanced"]) == tmp_path / "mnist-imbalanced.npz"
