"""Runs on a CUDA device, which is a pretended one: the CPU's results, repeatable kernels, and no traces."""

import json
import os
import warnings

import numpy as np
import pytest
import torch

from deepal_autoal import RunFolderError, ScoringStrategy, Trainer, load_model, plugin_host, run
from deepal_autoal.experiment.embedding import embed
from deepal_autoal.numerics.precision import deterministic
from tests.pretended_cuda import pretended_cuda

CUDA = torch.device("cuda", 0)
BUILTIN = [entry.name for entry in plugin_host().strategies.entries() if entry.provider.builtin]
OPTIONS = {
    "vaal": {"options": {"epochs": 1, "width": 4}},
    "autoal": {"candidates": ["entropy", "kmeans"], "options": {"steps": 5, "warmup_steps": 2}},
    "albl": {"candidates": ["entropy", "kmeans"]},
    "vote": {"candidates": ["entropy", "badge"]},
    "ensvarr": {"options": {"n_members": 2}},
}
MODELS = {"ddu": "cnn", "lpl": "cnn", "vaal": "cnn"}


class StopHereError(Exception):
    pass


def stop(run, record):
    raise StopHereError


@pytest.fixture
def devices():
    with pretended_cuda() as found:
        yield found


@pytest.mark.parametrize("name", BUILTIN)
def test_every_strategy_queries_and_resumes_as_on_the_cpu(tmp_path, blob_data, image_data, quick, name):
    model = MODELS.get(name, "mlp")
    data = image_data if model == "cnn" else blob_data
    settings = quick | {"model": model, "rounds": 2, "initial": 8, "batch_size": 4} | OPTIONS.get(name, {})
    expected = [record["queried"] for record in run(name, data, device="cpu", **settings).rounds]
    with pretended_cuda():
        with pytest.raises(StopHereError):
            run(name, data, device="cuda", out=tmp_path / "run", on_round=stop, **settings)
        found = run(name, data, device="cuda", out=tmp_path / "run", resume=True, **settings)
        on_cuda = load_model(tmp_path / "run", device="cuda").predict(data.x_test)
    assert [record["queried"] for record in found.rounds] == expected
    assert (load_model(tmp_path / "run", device="cpu").predict(data.x_test) == on_cuda).all()
    assert (on_cuda == data.y_test).mean() == found.accuracy


class Kernels(ScoringStrategy):
    """Notes what kernels are chosen by."""

    def __init__(self):
        self.seen = {}

    def score(self, context):
        cudnn = torch.backends.cudnn
        self.seen = {
            "deterministic": (cudnn.deterministic, torch.are_deterministic_algorithms_enabled()),
            "benchmark": cudnn.benchmark,
            "tf32": (cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32),
        }
        return torch.zeros(len(context.candidates), device=context.device)


def test_kernels_are_deterministic_and_float32_is_float32(devices, blob_data, quick):
    before = torch.backends.cudnn.deterministic, torch.are_deterministic_algorithms_enabled()
    on_cuda, on_cpu = Kernels(), Kernels()
    run(on_cuda, blob_data, device="cuda", **quick | {"rounds": 1})
    run(on_cpu, blob_data, device="cpu", **quick | {"rounds": 1})
    assert on_cuda.seen == {"deterministic": (True, True), "benchmark": False, "tf32": (False, False)}
    assert on_cpu.seen == {"deterministic": (True, False), "benchmark": False, "tf32": (False, False)}
    assert (torch.backends.cudnn.deterministic, torch.are_deterministic_algorithms_enabled()) == before


def test_missing_deterministic_kernels_only_warn():
    with warnings.catch_warnings(), deterministic(CUDA):
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
    assert not torch.are_deterministic_algorithms_enabled()


def test_training_is_deterministic(devices, blob_data, quick, monkeypatch):
    seen = []
    fit = Trainer.fit
    monkeypatch.setattr(
        Trainer, "fit",
        lambda *a, **k: seen.append(torch.are_deterministic_algorithms_enabled()) or fit(*a, **k),
    )  # fmt: skip
    run("random", blob_data, device="cuda", **quick | {"rounds": 1})
    assert seen == [True, True]


def test_the_gpu_is_recorded_and_compared_on_resume(devices, tmp_path, blob_data, quick):
    with pytest.raises(StopHereError):
        run("margin", blob_data, device="cuda", out=tmp_path, on_round=stop, **quick)
    gpu = json.loads((tmp_path / "config.json").read_text())["gpu"]
    assert gpu["name"] == "Pretended GPU"
    assert gpu.get("cuda") == (None if torch.version.cuda is None else torch.version.cuda)
    assert ("cudnn" in gpu) == (torch.backends.cudnn.version() is not None)
    devices.name = "Another GPU"
    with pytest.raises(RunFolderError, match=r"gpu.name was 'Pretended GPU' and is now 'Another GPU'"):
        run("margin", blob_data, device="cuda", out=tmp_path, resume=True, **quick)
    devices.name = "Pretended GPU"
    assert len(run("margin", blob_data, device="cuda", out=tmp_path, resume=True, **quick).rounds) == 4


def test_runs_on_the_cpu_record_no_gpu(devices, tmp_path, blob_data, quick):
    run("random", blob_data, device="cpu", out=tmp_path, **quick | {"rounds": 1})
    assert "gpu" not in json.loads((tmp_path / "config.json").read_text())
    assert not devices.is_initialized


def test_embeddings_are_those_of_the_cpu(devices, tmp_path, image_data):
    for device in ("cpu", "cuda"):
        embed(image_data, "cnn", tmp_path / f"{device}.npz", device=device, precision="float32")
    on_cpu, on_cuda = (np.load(tmp_path / f"{device}.npz") for device in ("cpu", "cuda"))
    assert (on_cpu["x"] == on_cuda["x"]).all() and (on_cpu["x_test"] == on_cuda["x_test"]).all()
    assert devices.waits  # it was there
