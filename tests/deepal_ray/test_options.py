"""Options of the backend and what a node does before a run: these tests do not need Ray."""

import importlib.util
import socket
import subprocess
import sys

import filelock
import pytest

from deepal_autoal.benchmark.backends.names import create_backend
from deepal_ray import node
from deepal_ray.backend import RayBackend


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
        (["--backend", "ray", "--cpus-per-run", "-1"], "give a number of at least 0"),
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
    assert RayBackend().is_local
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert RayBackend().address == "auto" and RayBackend("local").is_local


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [
        (None, None, ("cpu", 0)),
        ("auto", 0.25, ("cuda", 0.25)),
        ("cuda", None, ("cuda", 1)),
        ("cpu", 0, ("cpu", 0)),
    ],
)
def test_devices_follow_reserved_gpus(with_ray, device, gpus, expected):
    backend = RayBackend(gpus_per_run=gpus)
    found = backend.device(device)
    assert (found, backend.gpus(found)) == expected


def test_options_may_be_written_in_brackets(with_ray):
    backend = create_backend("ray[cpus_per_run=2]", address="auto", gpus_per_run=None)
    assert (backend.address, backend.cpus_per_run, backend.gpus_per_run) == ("auto", 2.0, None)
    assert backend.threads(1) == 2 and str(backend).startswith("backend 'ray' of deepal_autoal ")


def test_a_lost_nodes_lock_is_waited_for_and_then_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "_LOCK_SECONDS", 0.1)
    monkeypatch.setattr(node, "_LOST_LOCK_SECONDS", 0.1)
    with filelock.FileLock(tmp_path / ".lock"):
        node._await_lock(tmp_path / ".lock", is_retry=False)
        with pytest.raises(filelock.Timeout):
            filelock.FileLock(tmp_path / ".lock").acquire(timeout=0)
        node._await_lock(tmp_path / ".lock", is_retry=True)
        with filelock.FileLock(tmp_path / ".lock", timeout=0):
            pass


def test_ray_is_imported_only_on_request_and_its_workers_do_not_import_torch():
    """Imports in Ray's workers take memory in addition to each run's own process."""
    program = """
import sys
import deepal_autoal.benchmark.runner, deepal_autoal.cli.benchmark, deepal_ray.backend, deepal_ray.registration
assert "ray" not in sys.modules
for name in [name for name in sys.modules if name.startswith("deepal_autoal")]:
    del sys.modules[name]
torch = sys.modules.pop("torch")
sys.modules["torch"] = None  # importing it fails
import deepal_ray.node
"""
    subprocess.run([sys.executable, "-c", program], check=True)
