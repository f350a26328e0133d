"""Options of Ray, and files of runs on other machines: these tests do not need Ray."""

import importlib.util
import socket
import subprocess
import sys

import filelock
import pytest

from deepal_autoal import run
from deepal_autoal.benchmark.backends import folder_transfer, ray_worker
from deepal_autoal.benchmark.backends.ray_options import RayOptions, read_backend


@pytest.fixture
def closed_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]  # bound, but nothing listens


@pytest.fixture
def with_ray(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "rey"], "Did you mean 'ray'"),
        (["--address", "auto"], "--address needs --backend ray"),
        (["--gpus-per-run", "1"], "--gpus-per-run needs --backend ray"),
        (["--backend", "ray", "--address", "here"], "give HOST:PORT"),
        (["--backend", "ray", "--address", "ray://here:1"], "Ray Client is not supported"),
        (["--backend", "ray", "--gpus-per-run", "1.5"], "a fraction of one GPU, or a whole number"),
        (["--backend", "ray", "--cpus-per-run", "-1"], "give 0 or more"),
        (["--backend", "ray", "--device", "cuda:1"], "Ray chooses the GPU"),
        (["--backend", "ray", "--device", "cpu", "--gpus-per-run", "1"], "does not use"),
    ],
)
def test_wrong_use_is_one_line(deepal, with_ray, arguments, message):
    status, _, errors = deepal("benchmark", "--strategies", "random", *arguments)
    assert status == 2 and message in errors and errors.startswith("Error: ") and errors.count("\n") == 1


def test_an_address_where_nothing_listens_is_reported_at_once(deepal, with_ray, closed_port):
    address = f"127.0.0.1:{closed_port}"
    status, _, errors = deepal("benchmark", "--strategies", "random", "--backend", "ray", "--address", address)
    assert status == 2 and errors.startswith(f"Error: --address {address}: no Ray cluster answers there")
    assert errors.count("\n") == 1


def test_without_ray_the_extra_is_named(deepal, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    status, _, errors = deepal("benchmark", "--strategies", "random", "--backend", "ray")
    assert (status, errors) == (2, "Error: --backend ray needs Ray: pip install 'deepal_autoal[ray]'\n")


def test_the_address_defaults_to_rays_environment_variable(with_ray, monkeypatch):
    assert read_backend("ray", None, None, None).is_local
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert read_backend("ray", None, None, None).address == "auto"
    assert read_backend("local", None, None, None) is None


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [
        (None, None, ("cpu", None)),
        ("auto", 0.25, ("cuda", 0.25)),
        ("cuda", None, ("cuda", 1.0)),
        ("cpu", 0, ("cpu", 0)),
    ],
)
def test_devices_follow_reserved_gpus(device, gpus, expected):
    options, found = RayOptions(gpus_per_run=gpus).for_device(device)
    assert (found, options.gpus_per_run) == expected


def test_a_run_continues_from_collected_files(blob_file, tmp_path, quick):
    """A folder that is copied round by round is at each moment as a kill would leave it."""
    here, there = tmp_path / "here", tmp_path / "there"
    changes = folder_transfer.Changes(there)
    moments = []

    def collect(active, record):
        files = changes.take()
        assert ("config.json" in files) == (record["round"] == 0), "an unchanged file was sent again"
        folder_transfer.put(here, files)
        moments.append(sorted(path.name for path in here.iterdir()))
        if record["round"] == 1:
            folder_transfer.put(tmp_path / "second", folder_transfer.all_files(here))

    whole = run("margin", blob_file, out=there, on_round=collect, **quick)
    assert moments[1] == ["config.json", "rounds.jsonl", "state-00001.pt"]
    rounds = []
    again = run(out=tmp_path / "second", resume=True, on_round=lambda _, record: rounds.append(record["round"]))
    assert rounds == [2, 3] and [r["queried"] for r in again.rounds] == [r["queried"] for r in whole.rounds]
    folder_transfer.put(here, changes.take())
    assert {path.name for path in here.iterdir()} == {path.name for path in there.iterdir()} - {".lock"}


def test_a_lost_nodes_lock_is_waited_for_and_then_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_worker, "_LOCK_SECONDS", 0.1)
    monkeypatch.setattr(ray_worker, "_LOST_LOCK_SECONDS", 0.1)
    with filelock.FileLock(tmp_path / ".lock"):
        ray_worker._await_lock(tmp_path / ".lock", is_retry=False)
        with pytest.raises(filelock.Timeout):
            filelock.FileLock(tmp_path / ".lock").acquire(timeout=0)
        ray_worker._await_lock(tmp_path / ".lock", is_retry=True)
        with filelock.FileLock(tmp_path / ".lock", timeout=0):
            pass


def test_ray_is_imported_only_on_request_and_its_workers_do_not_import_torch():
    """Imports in Ray's workers take memory in addition to each run's own process."""
    program = """
import sys
import deepal_autoal.benchmark.runner, deepal_autoal.cli.benchmark
assert "ray" not in sys.modules
for name in [name for name in sys.modules if name.startswith("deepal_autoal")]:
    del sys.modules[name]
torch = sys.modules.pop("torch")
sys.modules["torch"] = None  # importing it fails
import deepal_autoal.benchmark.backends.ray_worker
"""
    subprocess.run([sys.executable, "-c", program], check=True)
