"""Real kills: whenever a run dies, the resumed run ends like an undisturbed one."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")]


def command(blob_file, out, *more):
    return [sys.executable, "-m", "deepal_autoal", "run", "--strategy", "autoal", "--candidates", "entropy,kmeans",
            "--dataset", str(blob_file), "--model", "mlp", "--initial", "10", "--batch-size", "2", "--rounds", "14",
            "--threads", "1", "--epochs", "4", "--min-steps", "20", "--out", str(out), *more]  # fmt: skip


def untimed(out):
    lines = (out / "rounds.jsonl").read_text().splitlines()
    drop = ("seconds", "query_peak_bytes")
    return [{key: value for key, value in json.loads(line).items() if key not in drop} for line in lines]


def test_kill_at_any_moment(tmp_path, blob_file):
    subprocess.run(command(blob_file, tmp_path / "whole"), check=True, capture_output=True)
    out = tmp_path / "killed"
    kills = 0
    for wait_for in (0, 3, 8):  # finished rounds to see before the kill
        process = subprocess.Popen(
            command(blob_file, out, "--resume"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            target = out / ("rounds.jsonl" if wait_for else "config.json")
            if target.exists() and len(target.read_text().splitlines()) > wait_for:
                break
            time.sleep(0.001)
        time.sleep(0.01 * (1 + kills))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        assert not (out / "summary.json").exists()
    assert kills == 3
    done = subprocess.run(command(blob_file, out, "--resume"), check=True, capture_output=True, text=True)
    assert "continuing after round" in done.stderr
    assert untimed(out) == untimed(tmp_path / "whole")
    assert (out / "model.pt").exists() and len(list(out.glob("state-*"))) == 1 and not list(out.glob(".*deepal-tmp*"))


def test_ctrl_c(tmp_path, blob_file):
    out = tmp_path / "run"
    # If the tests run in the background of a script, child processes inherit that Ctrl-C is ignored.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command(blob_file, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, previous)
    while process.poll() is None and not (out / "rounds.jsonl").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130 and f"deepal run --resume --out {out}" in err and "Traceback" not in err
    assert untimed(out)
