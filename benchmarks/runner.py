"""Measure overhead of `deepal benchmark`, savings by several jobs and a shared round 0, and the effect of kills.

python benchmarks/runner.py overhead --datasets digits --strategies random,entropy,badge --seeds 3
python benchmarks/runner.py jobs --datasets digits --strategies random,entropy,badge --seeds 3
python benchmarks/runner.py shared --datasets digits --strategies random,entropy,badge,coreset --seeds 3
python benchmarks/runner.py kill --datasets digits --strategies random,entropy,autoal --seeds 2 --kills 20
"""

from __future__ import annotations

import argparse
import csv
import itertools
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def command(arguments: argparse.Namespace, out: Path, *more: str) -> list[str]:
    """Return the benchmark's command line."""
    given = [f"--{name}={getattr(arguments, name.replace('-', '_'))}" for name in
             ("strategies", "datasets", "seeds", "rounds", "pool-size", "data-dir")
             if getattr(arguments, name.replace("-", "_")) is not None]  # fmt: skip
    return [sys.executable, "-m", "deepal_autoal", "benchmark", *given, "--out", str(out), "--quiet", *more]


def timed(line: list[str]) -> float:
    """Return a command's wall time."""
    started = time.perf_counter()
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def numbers(out: Path) -> list[dict[str, str]]:
    """Return results.csv without its times."""
    with open(out / "results.csv", newline="") as file:
        return [{key: value for key, value in row.items() if not key.endswith("_s")} for row in csv.DictReader(file)]


def overhead(arguments: argparse.Namespace, folder: Path) -> None:
    """Time everything outside of the runs, in this process."""
    import deepal_autoal.experiment.loop
    from deepal_autoal.benchmark import run_benchmark
    from deepal_autoal.report import write_report

    inside = 0.0
    genuine = deepal_autoal.experiment.loop.run

    def run(*args: Any, **kwargs: Any) -> Any:
        nonlocal inside
        started = time.perf_counter()
        try:
            return genuine(*args, **kwargs)
        finally:
            inside += time.perf_counter() - started

    deepal_autoal.experiment.loop.run = run
    settings = {name: getattr(arguments, name) for name in ("rounds", "pool_size", "data_dir")}
    marks = [time.perf_counter()]
    run_benchmark(
        arguments.strategies, arguments.datasets, arguments.seeds, folder / "study", threads=1,
        on_start=lambda grid: marks.append(time.perf_counter()),
        on_estimate=lambda estimates: marks.append(time.perf_counter()), **settings,
    )  # fmt: skip
    marks.append(time.perf_counter())
    write_report(folder / "study")
    marks.append(time.perf_counter())
    plan, probe, runs, report = (after - before for before, after in itertools.pairwise(marks))
    print(f"runs {inside:.1f} s; in addition: scheduling and tables {runs - inside:.2f} s "
          f"({100 * (runs - inside) / inside:.2f}%), plan and checks {plan:.2f} s, probe {probe:.2f} s, "
          f"report {report:.2f} s; in all {100 * (plan + probe + runs - inside + report) / inside:.1f}%")  # fmt: skip


def jobs(arguments: argparse.Namespace, folder: Path) -> None:
    """Compare two jobs of one thread with one job, with one thread and with the default threads."""
    seconds = {
        "one job, one thread": timed(command(arguments, folder / "one", "--threads=1")),
        "one job, default threads": timed(command(arguments, folder / "default")),
        "two jobs": timed(command(arguments, folder / "two", "--jobs=2", "--threads=1")),
    }
    for name, taken in seconds.items():
        print(f"{name}: {taken:.1f} s, {taken / seconds['two jobs']:.2f} x two jobs'")
    print("same numbers:", numbers(folder / "one") == numbers(folder / "two"))


def shared(arguments: argparse.Namespace, folder: Path) -> None:
    """Compare a shared round 0 with runs that each train round 0 themselves, in this process."""
    from deepal_autoal.benchmark import run_benchmark
    from deepal_autoal.benchmark.schedule import Schedule

    settings = {name: getattr(arguments, name) for name in ("rounds", "pool_size", "data_dir")}
    genuine = Schedule.initial_model
    taken = {}
    for name, method in (("warm-up", genuine), ("shared", genuine), ("each its own", lambda self, run: None)):
        Schedule.initial_model = method  # type: ignore[method-assign, assignment]
        started = time.perf_counter()
        result = run_benchmark(
            arguments.strategies, arguments.datasets, 1 if name == "warm-up" else arguments.seeds, folder / name,
            threads=1, **settings,
        )  # fmt: skip
        taken[name] = time.perf_counter() - started
    spent = sum(run.seconds[0]["train"] + run.seconds[0]["evaluate"] for run in result.tables.runs)
    saved = spent * (1 - 1 / len({run.strategy for run in result.tables.runs}))
    print(f"shared {taken['shared']:.1f} s, each its own {taken['each its own']:.1f} s: "
          f"{taken['each its own'] - taken['shared']:.1f} s saved; round 0 took {spent:.1f} s in all of its own runs, "
          f"of which {saved:.1f} s are redundant; same numbers: "
          f"{numbers(folder / 'shared') == numbers(folder / 'each its own')}")  # fmt: skip


def kill(arguments: argparse.Namespace, folder: Path) -> None:
    """Kill the benchmark at random times, and compare the results with an undisturbed one."""
    whole = timed(command(arguments, folder / "whole", "--jobs=2", "--threads=1"))
    moments = random.Random(0)
    n_kills = 0
    while n_kills < arguments.kills:
        process = subprocess.Popen(
            command(arguments, folder / "killed", "--jobs=2", "--threads=1"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            status = process.wait(moments.uniform(3.0, 3.0 + 2.0 * whole / arguments.kills))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            n_kills += 1
        else:
            print(f"finished after {n_kills} kills, status {status}: started again")
            for summary in list((folder / "killed").glob("*/*/*/summary.json"))[::2]:
                for file in summary.parent.iterdir():
                    file.unlink()
    timed(command(arguments, folder / "killed", "--jobs=2", "--threads=1"))
    others = (path for path in (folder / "killed").rglob("*") if path.name != "model.pt")
    left = [path.name for path in others if ".deepal-tmp" in path.name or path.suffix == ".pt"]
    print(f"{n_kills} kills; undisturbed {whole:.1f} s; same numbers: "
          f"{numbers(folder / 'whole') == numbers(folder / 'killed')}; files left behind: {left}")  # fmt: skip


def main() -> None:
    """Run the measurement that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "jobs", "shared", "kill"])
    parser.add_argument("--strategies", default="random,entropy,badge")
    parser.add_argument("--datasets", default="digits")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--pool-size", type=int)
    parser.add_argument("--data-dir")
    parser.add_argument("--kills", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        globals()[arguments.what](arguments, Path(folder))


if __name__ == "__main__":
    main()
