"""Worker processes: the same numbers, isolated failures, and no process that outlives the benchmark."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.benchmark.backends.job import Job
from deepal_autoal.benchmark.backends.processes import Processes
from deepal_autoal.errors import RunFolderError
from tests.benchmark.run_files import read_csv, runs_of, untimed

pytestmark = pytest.mark.slow

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def results(out):
    return [{key: row[key] for key in row if not key.endswith("_s")} for row in read_csv(out / "results.csv")]


def children(pid):
    """Return the worker processes of a process."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split() if entry.isdigit() else []
            command = Path(f"/proc/{entry}/cmdline").read_text() if fields else ""
        except OSError:
            continue
        if fields and fields[0] != "Z" and int(fields[1]) == pid and "backends.worker" in command:
            found.append(int(entry))
    return found


def test_two_jobs_give_the_same_numbers_as_one(tmp_path, blob_file, quick):
    grid = ("random,badge,lpl,v=vote[candidates=[entropy,kmeans]]", [blob_file], 2)
    # A path and a NumPy number, since workers receive the settings as JSON.
    quick = {**quick, "model": "mlp", "data_dir": tmp_path, "initial": np.int64(12)}
    outcomes, rounds = [], []
    done = run_benchmark(*grid, tmp_path / "two", jobs=2, on_run=outcomes.append,
                         on_round=lambda run, record: rounds.append((str(run), record["round"])), **quick)  # fmt: skip
    run_benchmark(*grid, tmp_path / "one", **quick)
    assert done.failures == () and results(tmp_path / "one") == results(tmp_path / "two")
    for folder in runs_of(tmp_path / "one"):
        assert untimed(tmp_path / "one" / folder) == untimed(tmp_path / "two" / folder)
    assert len(outcomes) == 8 and len(set(rounds)) == len(rounds) == 8 * (quick["rounds"] + 1)
    assert all(outcome.summary["status"] == "finished" for outcome in outcomes)


def test_threads_are_shared_and_remain_the_setting_of_the_study(tmp_path, blob_file, quick, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    quick = {name: value for name, value in quick.items() if name != "threads"}

    def threads(folder):
        return json.loads((tmp_path / "out" / folder / "config.json").read_text())["threads"]

    run_benchmark("random", [blob_file], 2, tmp_path / "out", jobs=2, **quick)
    run_benchmark("random,margin", [blob_file], 1, tmp_path / "out", **quick)
    monkeypatch.undo()
    assert threads("blobs/random/seed-1") == 2 and threads("blobs/margin/seed-0") in (2, 4)


@linux
def test_a_killed_worker_fails_only_its_own_run(tmp_path, blob_file, quick):
    killed = []

    def kill(run, record):
        if not killed:
            killed.append(str(run))
            slow = {"random": "margin", "margin": "random"}[run.strategy]
            assert slow
            for pid in children(os.getpid())[:1]:
                os.kill(pid, signal.SIGKILL)

    settings = {**quick, "rounds": 15}
    result = run_benchmark("random,margin", [blob_file], 2, tmp_path, jobs=2, on_round=kill, **settings)
    assert len(result.failures) == 1 and "killed by SIGKILL: the system may have run" in result.failures[0].failure
    assert len(runs_of(tmp_path)) == 3 and children(os.getpid()) == []
    assert run_benchmark("random,margin", [blob_file], 2, tmp_path, **settings).failures == ()


@linux
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_workers_end_with_the_benchmark(tmp_path, blob_file, how):
    command = [sys.executable, "-m", "deepal_autoal", "benchmark", "--strategies", "random,margin", "--datasets",
               str(blob_file), "--seeds", "2", "--rounds", "40", "--batch-size", "1", "--initial", "5", "--model",
               "linear", "--jobs", "2", "--out", str(tmp_path / "out"), "--quiet"]  # fmt: skip
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, previous)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("*/*/*/rounds.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = children(process.pid)
    assert len(workers) == 2
    process.send_signal(getattr(signal, how))
    _, errors = process.communicate(timeout=30)
    if how == "SIGINT":
        assert process.returncode == 130 and "Continue with: deepal benchmark" in errors and "Traceback" not in errors
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(os.path.exists(f"/proc/{pid}") for pid in workers):
        time.sleep(0.02)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)


def test_output_and_logs_of_a_run_do_not_corrupt_messages(tmp_path, blob_file, quick, capfd, caplog):
    settings = {**quick, "strategy": "random", "dataset": str(blob_file), "seed": 0, "initial": 2}
    jobs = [Job(f"job {number}", str(tmp_path / str(number)), settings) for number in range(2)]
    (tmp_path / "sitecustomize.py").write_text("print('hello from a plugin')\n")
    received = []
    backend = Processes(1, threads=1)
    os.environ["PYTHONPATH"], before = os.pathsep.join([str(tmp_path), *sys.path]), os.environ.get("PYTHONPATH")
    try:
        for job in jobs:  # one process for both
            backend.start(job)
            while not received or received[-1][1]["kind"] != "end" or received[-1][0] != job:
                backend.wait(lambda *message: received.append(message))
    finally:
        backend.close()
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    ends = [message for _, message in received if message["kind"] == "end"]
    assert ends == [{"kind": "end", "failure": None}] * 2
    assert {message["text"][:29] for _, message in received if message["kind"] == "log"} == {
        "the initial labeled set lacks"[:29]
    }


def test_a_failure_in_a_worker_is_reported_with_its_reason(tmp_path, blob_file, quick):
    settings = {**quick, "strategy": "entrpy", "dataset": str(blob_file), "seed": 0}
    received = []
    backend = Processes(1)
    backend.start(Job("a job", str(tmp_path / "run"), settings))
    while not received or received[-1]["kind"] != "end":
        backend.wait(lambda job, message: received.append(message))
    backend.close()
    assert "Did you mean 'entropy'" in received[-1]["failure"]


def test_gpus_are_distributed_over_workers(monkeypatch):
    seen = []

    class Popen:
        def __init__(self, command, env, **more):
            seen.append((env.get("CUDA_VISIBLE_DEVICES"), env["OMP_NUM_THREADS"]))
            self.stdin, self.stdout = io.StringIO(), io.StringIO()

        def poll(self):
            return None

        def terminate(self):
            pass

        def wait(self, timeout=None):
            return 0

    monkeypatch.setattr(subprocess, "Popen", Popen)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    backend = Processes(3, threads=5, n_gpus=2)
    for number in range(3):
        backend.start(Job(str(number), "folder", {}))
    backend.close()
    assert seen == [("4", "5"), ("6", "5"), ("4", "5")]


def test_results_can_be_read_by_any_csv_reader(tmp_path, blob_file, quick):
    run_benchmark("random", [blob_file], 1, tmp_path, **quick)
    with open(tmp_path / "results.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == quick["rounds"] + 1


@linux
def test_a_dead_worker_is_noticed_even_if_its_child_keeps_the_pipe_open(monkeypatch):
    line = "import os, time; os.fork() and os.kill(os.getpid(), 9); time.sleep(30)"
    original = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **more: original([sys.executable, "-c", line], **more))
    received = []
    backend = Processes(1)
    backend.start(Job("a job", "folder", {}))
    started = time.monotonic()
    backend.wait(lambda job, message: received.append(message))
    assert time.monotonic() - started < 20 and "killed by SIGKILL" in received[0]["failure"]


def test_one_benchmark_at_a_time_in_a_folder(tmp_path, blob_file, quick):
    def begin_another(run, record):
        with pytest.raises(RunFolderError, match="another benchmark is running"):
            run_benchmark("random", [blob_file], 1, tmp_path, **quick)
        found.append(record)

    found = []
    (tmp_path / ".results.csv.99.deepal-tmp").write_text("half")
    run_benchmark("random", [blob_file], 1, tmp_path, on_round=begin_another, **quick)
    assert found and run_benchmark("random", [blob_file], 1, tmp_path, **quick).failures == ()
    assert not list(tmp_path.glob(".*deepal-tmp"))
