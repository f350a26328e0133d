"""Measures whole runs over a very large pool of embeddings: float16 in a memory-mapped file.

Writes embeddings of 100 overlapping classes as an .npz (about a gigabyte for a million; kept and reused), then runs
each strategy by `deepal run` in a separate process: a linear model, an initial set of 1,000 and one query.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from cases import Case, Row
from rules import rounded, row_of, say

from deepal_autoal.datasets.files.array_cache import ArrayBlocks
from deepal_autoal.datasets.files.npz_writer import write_npz

PART = "million"
# Phases of a run, and the whole run, as ways of one case.
LOAD, TRAIN, QUERY, WALL = "load", "train", "query", "whole run"
N_CLASSES, N_TEST, BLOCK = 100, 10_000, 50_000


def run(
    strategies: Sequence[str], n: int, dims: int, batch_size: int, threads: int, limit: float, folder: Path,
    done: Sequence[Row],
) -> Iterator[list[Row]]:  # fmt: skip
    """Yield the rows of each strategy that is not done yet."""
    finished = {row.case for row in done}
    cases = [Case(PART, strategy, n, batch_size, N_CLASSES) for strategy in strategies]
    cases = [case for case in cases if case not in finished]
    file = folder / f"embeddings-{n}x{dims}.npz"
    if cases and not file.exists():
        say(f"writing {file}")
        write(file, n, dims)
    for case in cases:
        yield measure(case, file, threads, limit)


def write(file: Path, n: int, width: int) -> None:
    """Write the embeddings block by block."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(N_CLASSES, width)).astype(np.float32)
    y = rng.integers(0, N_CLASSES, size=n)
    y_test = rng.integers(0, N_CLASSES, size=N_TEST)

    def blocks(labels: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(labels), BLOCK):
            part = labels[start : start + BLOCK]
            noise = rng.standard_normal(size=(len(part), width), dtype=np.float32)
            yield (centers[part] + 4.0 * noise).astype(np.float16)

    half = np.dtype(np.float16)
    write_npz(
        file,
        {
            "x": ArrayBlocks((n, width), half, blocks(y)),
            "y": y,
            "x_test": ArrayBlocks((N_TEST, width), half, blocks(y_test)),
            "y_test": y_test,
        },
    )


def measure(case: Case, file: Path, threads: int, limit: float) -> list[Row]:
    """Return the seconds of each phase, the peak of the query and that of the process, including mapped pages."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [
            sys.executable, "-m", "deepal_autoal", "run", "--quiet", "--strategy", case.strategy, "--dataset",
            str(file), "--model", "linear", "--initial", "1000", "--batch-size", str(case.batch_size), "--rounds", "1",
            "--threads", str(threads), "--out", str(out),
        ]  # fmt: skip
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        status, peak = wait(process, start + limit)
        wall = time.perf_counter() - start
        if status:
            note = f"> {limit:.0f} s" if wall >= limit else f"exit status {status}"
            say(f"{case}: {note}")
            return [row_of(case, WALL, "stopped" if wall >= limit else "failed", note=note)]
        rounds = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    seconds = {phase: sum(record["seconds"][phase] for record in rounds) for phase in ("train", "evaluate", "query")}
    query_peak = max(record["query_peak_bytes"] or 0 for record in rounds)  # none in the last round
    times = {LOAD: wall - sum(seconds.values()), TRAIN: seconds["train"], QUERY: seconds["query"], WALL: wall}
    say(f"{case}: " + ", ".join(f"{way} {value:.1f} s" for way, value in times.items()) + f", {peak / 1e6:,.0f} MB")
    peaks = {QUERY: query_peak, WALL: peak}
    return [
        row_of(
            case, way, "done", seconds=rounded(value), repeats=1,
            peak_mb=round(peaks[way] / 1e6) if way in peaks else "",
        )
        for way, value in times.items()
    ]  # fmt: skip


def wait(process: subprocess.Popen, deadline: float) -> tuple[int, int]:
    """Return a process's exit status and peak memory in bytes; kill it at the deadline."""
    while True:
        found, status, usage = os.wait4(process.pid, os.WNOHANG)
        if found:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_maxrss * 1024
        if time.perf_counter() > deadline:
            process.send_signal(signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.05)
