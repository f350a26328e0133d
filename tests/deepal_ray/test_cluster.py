"""Benchmarks on a real Ray cluster of two nodes, one of which is killed during a benchmark."""

import csv
import logging
import os
from dataclasses import replace

import pytest

from deepal_autoal.benchmark import run_benchmark
from tests.benchmark.run_files import runs_of, untimed

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
pytest.importorskip("ray")
from ray.cluster_utils import Cluster

import deepal_ray.cluster
from deepal_autoal import InputError

# Long enough to be killed in the middle.
SLOW = {"epochs": 200, "rounds": 5}


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def on_ray(cluster, blob_file, tmp_path, quick):
    def call(strategies="random,margin", datasets=None, seeds=1, **more):
        given = {**quick, "backend": "ray", "address": cluster.address, **more}
        return run_benchmark(strategies, datasets or [blob_file], seeds, tmp_path / "out", **given)

    return call


@pytest.fixture
def apart(monkeypatch):
    """Let no node find the token in the benchmark's folder, as if none shared it; all nodes are on this machine."""
    make = deepal_ray.cluster.Order

    def order(job, token, *rest):
        return make(job, replace(token, content="another one's"), *rest)

    monkeypatch.setattr(deepal_ray.cluster, "Order", order)


def untimed_rows(out):
    with open(out / "results.csv", newline="") as file:
        return [{key: value for key, value in row.items() if not key.endswith("_s")} for row in csv.DictReader(file)]


@pytest.mark.parametrize("is_shared", [True, False])
def test_runs_of_a_lost_node_continue_elsewhere(
    cluster, on_ray, tmp_path, blob_file, quick, caplog, request, is_shared
):
    if not is_shared:
        request.getfixturevalue("apart")
    rounds = []

    def kill(planned, record):
        rounds.append((planned.strategy, record["round"]))
        if len(rounds) == 2:  # the head accepts no runs: this run's node is lost
            (node,) = cluster.worker_nodes
            cluster.remove_node(node, allow_graceful=False)
            cluster.add_node(num_cpus=1)

    caplog.set_level(logging.WARNING, "deepal_ray")
    result = on_ray("random,margin", **SLOW, on_round=kill)
    assert result.failures == ()
    lost = [record.getMessage() for record in caplog.records if "started again" in record.getMessage()]
    assert len(lost) == 1 and "retry 1 of 3" in lost[0]
    assert len(rounds) == len(set(rounds)), "a finished round was repeated"
    run_benchmark("random,margin", [blob_file], 1, tmp_path / "local", **{**quick, **SLOW})
    assert untimed_rows(tmp_path / "out") == untimed_rows(tmp_path / "local")
    for name in runs_of(tmp_path / "local"):
        assert untimed(tmp_path / "out" / name) == untimed(tmp_path / "local" / name)
        files = {path.name for path in (tmp_path / "out" / name).iterdir()}
        assert files == {path.name for path in (tmp_path / "local" / name).iterdir()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".lock", "blobs", "results.csv", "summary.csv"}


def test_round_0_is_shared_by_nodes_that_share_no_folder(on_ray, tmp_path, apart):
    on_ray("random,margin", cpus_per_run=0.5)
    found = [untimed(tmp_path / "out" / name)[0]["accuracy"] for name in runs_of(tmp_path / "out")]
    assert len(found) == 2 and len(set(found)) == 1
    text = [(tmp_path / "out" / name / "rounds.jsonl").read_text() for name in runs_of(tmp_path / "out")]
    assert sum('"train.shared"' in rounds for rounds in text) == 1


def test_a_failure_on_a_node_is_reported_and_stops_no_other_run(on_ray, tmp_path, blob_file):
    gone = tmp_path / "gone.npz"
    gone.write_bytes(blob_file.read_bytes())
    result = on_ray("random", [gone, blob_file], on_start=lambda grid: gone.unlink())
    (outcome,) = result.failures
    assert outcome.run.dataset == "gone" and "gone.npz" in outcome.failure and "(on " in outcome.failure
    assert runs_of(tmp_path / "out") == ["blobs/random/seed-0"]


def test_different_versions_on_a_node_are_refused(on_ray, monkeypatch):
    original = deepal_ray.cluster.required_versions
    monkeypatch.setattr(deepal_ray.cluster, "required_versions", lambda job: {**original(job), "torch": "0.1"})
    (outcome,) = on_ray("random").failures
    assert "there and 0.1 here; install the same on all nodes" in outcome.failure


def test_a_run_that_fits_on_no_node_is_reported_at_once(on_ray):
    with pytest.raises(InputError, match="no node of the Ray cluster has 64 CPUs"):
        on_ray("random", cpus_per_run=64)
