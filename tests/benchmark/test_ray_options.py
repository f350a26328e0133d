"""What is asked of Ray, and the files of runs elsewhere: none of it needs Ray."""

import importlib.util
import socket
import subprocess
import sys

import filelock
import pytest

from deepal_autoal import run
from deepal_autoal.benchmark import collected, ray_worker
from deepal_autoal.benchmark.ray_options import RayOptions, read_backend


@pytest.fixture
def closed_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]  # bound, and nobody listens


@pytest.fixture
def with_ray(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "rey"], "Did you mean 'ray'"),
        (["--address", "auto"], "--address goes with --backend ray"),
        (["--gpus-per-run", "1"], "--gpus-per-run goes with --backend ray"),
        (["--backend", "ray", "--address", "here"], "give HOST:PORT"),
        (["--backend", "ray", "--address", "ray://here:1"], "Ray Client is not supported"),
        (["--backend", "ray", "--gpus-per-run", "1.5"], "a share of one GPU, or a whole number"),
        (["--backend", "ray", "--cpus-per-run", "-1"], "give 0 or more"),
        (["--backend", "ray", "--device", "cuda:1"], "Ray chooses which GPU"),
        (["--backend", "ray", "--device", "cpu", "--gpus-per-run", "1"], "does not use"),
    ],
)
def test_wrong_use_is_one_line(deepal, with_ray, arguments, message):
    status, _, errors = deepal("benchmark", "--strategies", "random", *arguments)
    assert status == 2 and message in errors and errors.startswith("Error: ") and errors.count("\n") == 1


def test_an_address_where_nobody_listens_is_told_at_once(deepal, with_ray, closed_port):
    address = f"127.0.0.1:{closed_port}"
    status, _, errors = deepal("benchmark", "--strategies", "random", "--backend", "ray", "--address", address)
    assert status == 2 and errors.startswith(f"Error: --address {address}: no Ray cluster answers there")
    assert errors.count("\n") == 1


def test_without_ray_the_extra_is_named(deepal, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    status, _, errors = deepal("benchmark", "--strategies", "random", "--backend", "ray")
    assert (status, errors) == (2, "Error: --backend ray needs Ray: pip install 'deepal_autoal[ray]'\n")


def test_the_environment_names_the_cluster_as_it_does_for_ray(with_ray, monkeypatch):
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
def test_devices_follow_what_is_booked(device, gpus, expected):
    options, found = RayOptions(gpus_per_run=gpus).for_device(device)
    assert (found, options.gpus_per_run) == expected


def test_a_run_goes_on_from_the_files_that_were_collected(blob_file, tmp_path, quick):
    """Round by round from one folder to another, the run is there at each moment as a kill would leave it."""
    here, there = tmp_path / "here", tmp_path / "there"
    changes = collected.Changes(there)
    moments = []

    def collect(active, record):
        files = changes.take()
        assert ("config.json" in files) == (record["round"] == 0), "what did not change was sent again"
        collected.put(here, files)
        moments.append(sorted(path.name for path in here.iterdir()))
        if record["round"] == 1:
            collected.put(tmp_path / "second", collected.all_files(here))

    whole = run("margin", blob_file, out=there, on_round=collect, **quick)
    assert moments[1] == ["config.json", "rounds.jsonl", "state-00001.pt"]
    rounds = []
    again = run(out=tmp_path / "second", resume=True, on_round=lambda _, record: rounds.append(record["round"]))
    assert rounds == [2, 3] and [r["queried"] for r in again.rounds] == [r["queried"] for r in whole.rounds]
    collected.put(here, changes.take())
    assert {path.name for path in here.iterdir()} == {path.name for path in there.iterdir()} - {".lock"}


def test_a_lock_of_the_lost_is_waited_for_and_then_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_worker, "_SECONDS_OF_OTHERS", 0.1)
    monkeypatch.setattr(ray_worker, "_SECONDS_OF_THE_LOST", 0.1)
    with filelock.FileLock(tmp_path / ".lock"):
        ray_worker._await_lock(tmp_path / ".lock", is_retry=False)
        with pytest.raises(filelock.Timeout):
            filelock.FileLock(tmp_path / ".lock").acquire(timeout=0)
        ray_worker._await_lock(tmp_path / ".lock", is_retry=True)
        with filelock.FileLock(tmp_path / ".lock", timeout=0):
            pass


def test_ray_is_not_imported_unless_asked_for_and_torch_not_by_its_workers():
    """What a node's Ray imports takes memory beside each run's own process."""
    program = """
import sys
import deepal_autoal.benchmark.runner, deepal_autoal.cli.benchmark
assert "ray" not in sys.modules
for name in [name for name in sys.modules if name.startswith("deepal_autoal")]:
    del sys.modules[name]
torch = sys.modules.pop("torch")
sys.modules["torch"] = None  # importing it fails
import deepal_autoal.benchmark.ray_worker
"""
    subprocess.run([sys.executable, "-c", program], check=True)
