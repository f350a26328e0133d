"""Runs on a CUDA device, which is a pretended one: the CPU's results, repeatable kernels, and no traces."""

import gc
import json
import os
import warnings

import numpy as np
import pytest
import torch

from deepal_autoal import (
    ActiveLearner,
    BlockSize,
    DeepALError,
    Recipe,
    RunFolderError,
    ScoringStrategy,
    Trainer,
    create_strategy,
    load_model,
    plugin_host,
    run,
)
from deepal_autoal.experiment.embedding import embed
from deepal_autoal.numerics.devices import has_failed, residency_limit
from deepal_autoal.numerics.precision import deterministic
from deepal_autoal.run_settings import GPU_SHARE
from deepal_autoal.training.inputs import Inputs, Normalization
from tests.pretended_cuda import pretended_cuda

CUDA = torch.device("cuda", 0)
BUILTIN = [entry.name for entry in plugin_host().strategies.entries() if entry.provider.builtin]
OPTIONS = {
    "vaal": {"options": {"epochs": 1, "width": 4}},
    "autoal": {"candidates": ["entropy", "kmeans"], "options": {"steps": 5, "warmup_steps": 2}},
    "albl": {"candidates": ["entropy", "kmeans"]},
    "vote": {"candidates": ["entropy", "badge"]},
    "ensvarr": {"options": {"n_members": 2}},
    "rambo": {"options": {"pairs": 1, "epochs": 2}},
    "dulo": {"options": {"pairs": 1, "steps": 20}},
    "refine": {"candidates": ["margin", "badge"], "options": {"last": "typiclust", "depth": 2, "batches": 4}},
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


@pytest.mark.parametrize("name", BUILTIN)
def test_nothing_of_a_round_or_a_run_stays_alive(devices, blob_data, image_data, quick, name):
    model = MODELS.get(name, "mlp")
    data = image_data if model == "cnn" else blob_data
    settings = quick | {"model": model, "rounds": 2, "initial": 8, "batch_size": 4} | OPTIONS.get(name, {})
    after_rounds = []
    gc.collect()
    gc.disable()
    try:
        run(name, data, device="cuda", on_round=lambda *_: after_rounds.append(devices.allocated[0]), **settings)
        assert devices.allocated == [0]
    finally:
        gc.enable()
    assert after_rounds[0] > 0 and set(after_rounds) == {after_rounds[0]}


def test_lack_of_memory_is_one_error_that_says_what_to_make_smaller(devices, blob_data, quick):
    devices.total_bytes = 20_000
    with pytest.raises(DeepALError, match=r"out of memory in training \(.*\); lower --train-batch-size \(it is 64\)"):
        run("random", blob_data, device="cuda", **quick | {"model": "mlp"})
    devices.total_bytes = 8 << 30

    class Large(ScoringStrategy):
        def score(self, context):
            devices.total_bytes = devices.allocated[0] + 100
            return torch.zeros(len(context.candidates), 1000, device=context.device).sum(dim=1)

    with pytest.raises(DeepALError, match=r"'Large' failed in query: .*out of memory in the query.*--pool-size"):
        run(Large(), blob_data, device="cuda", **quick)
    devices.total_bytes = 8 << 30
    assert len(run("random", blob_data, device="cuda", **quick).rounds) == 4  # the process goes on


def test_the_pool_stays_on_the_host_where_the_device_is_too_full(devices, monkeypatch):
    array = np.arange(4000, dtype=np.float32).reshape(1000, 4)
    expected = Inputs(array, Normalization.fit(array), torch.device("cpu")).batch(np.arange(5))

    def kept():
        inputs = Inputs(array, Normalization.fit(array), CUDA)
        torch.testing.assert_close(inputs.batch(np.arange(5)).cpu(), expected)
        return devices.allocated[0] >= array.nbytes

    assert kept()
    torch.cuda.empty_cache()
    monkeypatch.setattr("deepal_autoal.training.inputs.residency_limit", lambda device: 1 << 40)
    devices.bytes_of_others = devices.total_bytes - array.nbytes // 2  # taken since the limit was computed
    assert not kept()


def test_processes_that_share_a_gpu_keep_to_their_share(devices, monkeypatch):
    assert residency_limit(CUDA) == devices.total_bytes // 2
    monkeypatch.setenv(GPU_SHARE, "0.25")
    assert residency_limit(CUDA) == devices.total_bytes // 8
    devices.bytes_of_others = int(0.9 * devices.total_bytes)
    assert residency_limit(CUDA) == (devices.total_bytes - devices.bytes_of_others) // 2


def test_a_failed_device_is_noticed(devices):
    assert not has_failed()
    x = torch.zeros(3, device="cuda")
    with pytest.raises(RuntimeError):
        x[torch.tensor([5], device="cuda")]
    assert has_failed()


def waits_of_a_query(data, name, batch_size, options=None):
    """Return how often Python waited for the device in a query."""
    strategy = create_strategy(name, **(options or {}))
    model = MODELS.get(name, "mlp")
    with pretended_cuda() as devices:
        recipe = Recipe(epochs=1, min_steps=0)
        learner = ActiveLearner(data.x_train, strategy, data.n_classes, model=model, recipe=recipe, device="cuda")
        learner.tell(np.arange(10), data.y_train[:10])
        learner.fit()
        devices.waits.clear()
        learner.query(batch_size)
        return {key: n for key, n in devices.waits_in().items() if "without waiting" not in key[0]}


def picks_and_blocks(data, name, batch_size=9):
    """Return the picks of a query on CUDA, and the blocks by the size they come from and where they are."""
    blocks, rows_of = [], BlockSize.rows

    def rows(size, per_row=1, device=None):
        blocks.append((size, None if device is None else device.type, rows_of(size, per_row, device)))
        return blocks[-1][2]

    with pretended_cuda(), pytest.MonkeyPatch.context() as patched:
        patched.setattr(BlockSize, "rows", rows)
        recipe = Recipe(epochs=2, min_steps=0)
        learner = ActiveLearner(data.x_train, name, data.n_classes, model="mlp", recipe=recipe, device="cuda")
        learner.tell(np.arange(10), data.y_train[:10])
        return learner.query(batch_size).indices.tolist(), blocks


@pytest.mark.parametrize("name", ["badge", "bald", "coreset", "kmeans", "margin"])
def test_a_gpu_has_blocks_of_its_own_size_which_does_not_change_picks(blob_data, monkeypatch, name):
    expected, blocks = picks_and_blocks(blob_data, name)
    own = {id(size): size for size, device, _ in blocks if device == "cuda" and size.accelerator is not None}
    assert own
    for size in own.values():
        monkeypatch.setitem(vars(size), "accelerator", 100)
        monkeypatch.setitem(vars(size), "least_rows", 1)
    found, small = picks_and_blocks(blob_data, name)
    assert found == expected
    assert min(n for size, _, n in small if id(size) in own) < min(n for size, _, n in blocks if id(size) in own)
    assert all(size.rows(7) == size.rows(7, torch.device("cpu")) for size in own.values())


def test_training_waits_once_an_epoch(devices, blob_data):
    for epochs in (2, 7):
        recipe = Recipe(epochs=epochs, min_steps=0, train_batch_size=4)
        learner = ActiveLearner(blob_data.x_train, "random", 3, model="mlp", recipe=recipe, device="cuda")
        learner.tell(np.arange(40), blob_data.y_train[:40])
        devices.waits.clear()
        learner.fit()
        reads = {key: n for key, n in devices.waits_in("trainer.py").items() if not key[0].startswith("copy")}
        assert sorted(reads.values()) == [1, epochs]  # the other: whether the final weights are finite


@pytest.mark.parametrize("name", ["badge", "coreset", "kmeans", "bait", "power"])
def test_choices_do_not_wait(blob_data, name):
    few, many = (sum(waits_of_a_query(blob_data, name, n).values()) for n in (4, 40))
    assert few == many


@pytest.mark.parametrize(("name", "short", "long"), [
    ("vaal", {"epochs": 1, "width": 4}, {"epochs": 3, "width": 4}),
    ("autoal", {"candidates": ["entropy", "margin"], "steps": 4, "warmup_steps": 2},
     {"candidates": ["entropy", "margin"], "steps": 24, "warmup_steps": 12}),
])  # fmt: skip
def test_steps_of_own_networks_do_not_wait(blob_data, image_data, name, short, long):
    data = image_data if name in MODELS else blob_data
    few, many = (waits_of_a_query(data, name, 4, options) for options in (short, long))
    assert sum(many.values()) - sum(few.values()) <= 2, set(many.items()) - set(few.items())
