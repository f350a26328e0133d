"""Measure whole-run time and peak memory of strategies relative to `entropy`, in turn on the same machine.

    python benchmarks/run_time.py --data-dir data --repeats 3

Prints for each strategy the seconds of each phase (median over the repeats), the parts of its queries, wall seconds of
the whole process, its peak memory, and the ratio to entropy's wall time, pair by pair.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", default="vote:entropy,margin,kmeans;autoal:entropy,margin,kmeans",
                        help="NAME[:CANDIDATES][ KEY=VALUE ...], separated by semicolons")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("arguments", nargs="*", help="further arguments of `deepal run`, after --")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--pool-size", default="10000")
    parser.add_argument("--initial", default="100")
    parser.add_argument("--batch-size", default="100")
    parser.add_argument("--rounds", default="10")
    options = vars(parser.parse_args())
    strategies, repeats, more = options.pop("strategies"), options.pop("repeats"), options.pop("arguments")
    common = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))] + more
    names = ["entropy", *(name for name in strategies.split(";") if name)]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for repeat in range(repeats):
        for name in names:
            results[name].append(measure(name, common))
            print(f"{repeat + 1}/{repeats} {name}: {results[name][-1]}", file=sys.stderr, flush=True)
    parts = dict.fromkeys(phase for runs in results.values() for phase in runs[0] if phase.startswith("query."))
    phases = ("train", "evaluate", "query", *parts, "wall", "peak MB")
    print("| strategy | " + " | ".join(f"{p} s" if p != "peak MB" else p for p in phases) + " | wall / entropy |")
    print("|---|" + "---|" * (len(phases) + 1))
    for name in names:
        ratios = [a["wall"] / b["wall"] for a, b in zip(results[name], results["entropy"], strict=True)]
        cells = [
            f"{median(result[phase] for result in results[name]):.1f}" if phase in results[name][0] else ""
            for phase in phases
        ]
        print(
            f"| `{name}` | " + " | ".join(cells) + f" | {median(ratios):.2f} ({min(ratios):.2f} … {max(ratios):.2f}) |"
        )


def measure(name: str, common: list[str]) -> dict[str, float]:
    """Run once in a separate process."""
    head, *settings = name.split(" ")
    strategy, _, candidates = head.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "deepal_autoal", "run", "--quiet", "--strategy", strategy, "--out", str(out)]
        command += (["--candidates", candidates] if candidates else []) + common
        command += [part for setting in settings for part in ("-o", setting)]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        if status:
            sys.exit(f"{' '.join(command)} failed")
        seconds = json.loads((out / "summary.json").read_text())["seconds"]
    rounded = {phase: round(value, 2) for phase, value in seconds.items() if phase != "total"}
    return {**rounded, "wall": round(wall, 2), "peak MB": round(usage.ru_maxrss / 1024)}


if __name__ == "__main__":
    main()
