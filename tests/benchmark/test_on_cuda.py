"""Benchmarks on a CUDA device, a pretended one: a run that breaks it fails alone, and caches are given back."""

import functools
import os
from functools import partial
from pathlib import Path

import pytest
import torch

from deepal_autoal import RunFolderError, ScoringStrategy, create_strategy
from deepal_autoal.benchmark import Job, run_benchmark
from deepal_autoal.benchmark.cost.probe import Probe
from deepal_autoal.benchmark.grid import plan_grid
from deepal_autoal.datasets import load_dataset
from deepal_autoal.plugins import host
from tests import pretended_cuda as package
from tests.pretended_cuda import pretended_cuda

BREAKS = """
import torch
from deepal_autoal import ScoringStrategy, hookimpl

class Breaks(ScoringStrategy):
    def score(self, context):
        scores = torch.zeros(len(context.candidates), device=context.device)
        return scores[torch.full((len(scores),), len(scores), device=context.device)]

@hookimpl
def deepal_register_strategies(registry):
    registry.add("breaks", Breaks, summary="Fails on the device.")
"""


@pytest.fixture
def devices(monkeypatch):
    """A pretended device here and in processes that this one starts."""
    site = Path(package.__file__).parent / "site"
    root = Path(package.__file__).parents[2]
    path = [str(site), str(root), str(root / "plugins"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.setenv("PRETENDED_CUDA_ROOT", str(root))
    with pretended_cuda() as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_broken_strategy_fails_its_own_runs_only(
    devices, tmp_path, blob_file, distribution, monkeypatch, quick, jobs
):
    monkeypatch.setattr(host, "_loaded_host", functools.cache(host._loaded_host.__wrapped__))  # of this test
    distribution("broken-plugin", entry_points={"breaks": "broken_plugin"}, broken_plugin=BREAKS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(distribution.path), os.environ["PYTHONPATH"]]))
    settings = quick | {"rounds": 1, "device": "cuda"}
    call = partial(run_benchmark, "breaks,margin", str(blob_file), jobs, tmp_path / "out", jobs=jobs, **settings)
    if jobs == 2:
        monkeypatch.setattr("deepal_autoal.benchmark.cost.estimates._DRY_RUN_SECONDS", 0.3)
        estimates = []
        call(dry_run=True, on_estimate=estimates.append)
        assert estimates[0].n_known == 1
        ((_, reason),) = estimates[0].failures.items()
        assert "device-side assert" in reason
    result = call()
    assert [outcome.run.strategy for outcome in result.failures] == ["breaks"] * jobs
    assert all("device-side assert" in outcome.failure for outcome in result.failures)
    assert {run.strategy for run in result.tables.runs} == {"margin"} and len(result.tables.runs) == jobs
    assert not devices.has_failed and devices.initialized_by == ""


def test_planning_creates_no_context(devices, tmp_path, blob_file, image_data, quick):
    settings = quick | {"device": "cuda", "model": "auto"}
    grid = plan_grid("all,ddu,lpl", str(blob_file), 1, tmp_path, None, settings)
    assert {run.setup.device for run in grid.runs} == {torch.device("cuda", 0)}
    assert devices.initialized_by == ""


def test_a_benchmark_continues_with_the_precision_of_its_runs(devices, tmp_path, blob_file, quick):
    settings = quick | {"rounds": 1, "device": "cuda"}
    planned = plan_grid("margin", str(blob_file), 1, tmp_path, None, settings).runs[0]
    assert planned.setup.recipe.precision == "auto"
    Job("job", str(planned.folder), planned.settings).execute(lambda message: None)
    devices.initialized_by = ""
    for precision in (None, "auto"):
        again = plan_grid("margin", str(blob_file), 1, tmp_path, None, {**settings, "precision": precision}).runs[0]
        assert again.is_finished and again.setup.recipe.precision == "float32"
    assert devices.initialized_by == ""
    with pytest.raises(RunFolderError, match="precision"):
        plan_grid("margin", str(blob_file), 1, tmp_path, None, {**settings, "precision": "bfloat16"})


def test_a_broken_object_leaves_the_other_runs_to_a_new_process(devices, tmp_path, blob_file, quick):
    class Breaks(ScoringStrategy):
        def score(self, context):
            devices.fail()

    settings = quick | {"rounds": 1, "device": "cuda"}
    result = run_benchmark({"object": Breaks(), "margin": "margin"}, str(blob_file), 1, tmp_path, **settings)
    first, second = result.failures
    assert "device-side assert" in first.failure and "cannot use it; repeat the call" in second.failure


def test_an_estimate_keeps_the_memory_of_gpu_and_process_apart(devices, tmp_path, blob_file, quick, monkeypatch):
    class Large(ScoringStrategy):
        def score(self, context):
            return torch.zeros(len(context.candidates), 10_000, device=context.device).sum(dim=1)

    monkeypatch.setattr("deepal_autoal.measuring.resources._resident", lambda field: 1 << 30)
    settings = quick | {"rounds": 1, "device": "cuda"}
    run = plan_grid({"large": Large(), "random": "random"}, str(blob_file), 1, tmp_path, None, settings).runs[0]
    probe = Probe(load_dataset(str(blob_file)), run.setup, run.settings, 0.05)
    large, plain = probe.of(Large), probe.of(lambda: create_strategy("random"))
    assert large.n_bytes == plain.n_bytes == 1 << 30
    assert large.query_bytes >= 108 * 10_000 * 4 > plain.query_bytes
    assert 0 < plain.gpu_bytes < large.query_bytes < large.gpu_bytes


def test_a_job_gives_its_cache_back(devices, tmp_path, blob_file, quick):
    messages = []
    settings = quick | {"rounds": 1, "device": "cuda", "strategy": "margin", "dataset": str(blob_file)}
    Job("job", str(tmp_path / "run"), settings).execute(messages.append)
    assert messages[-1] == {"kind": "end", "failure": None}
    assert devices.is_initialized and torch.cuda.memory_reserved() == 0
