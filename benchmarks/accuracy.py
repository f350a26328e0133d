"""Strategies side by side over paired seeds: accuracy at each round, AUBC, differences to random.

    python benchmarks/accuracy.py --out /tmp/study --data-dir data

Runs are ordinary run folders under --out; repeating the command continues where it stopped. The table of all rounds
is written as CSV, the summary is printed.
"""

import argparse
import csv
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", default="random,entropy,margin,kmeans,vote,autoal")
    parser.add_argument("--candidates", default="entropy,margin,kmeans", help="of vote and autoal")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--csv", type=Path, default=None, help="where the table of rounds goes; default OUT/rounds.csv")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--pool-size", type=int, default=10_000)
    parser.add_argument("--initial", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()

    cells = [(strategy, seed) for seed in range(arguments.seeds) for strategy in arguments.strategies.split(",")]
    with ThreadPoolExecutor(arguments.jobs) as executor:
        rows = [row for part in executor.map(lambda cell: run(arguments, *cell), cells) for row in part]
    path = arguments.csv or arguments.out / "rounds.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    summarize(rows, arguments.strategies.split(","))


def run(arguments: argparse.Namespace, strategy: str, seed: int) -> list[dict[str, object]]:
    """Do or finish one run, and return its rounds."""
    out = arguments.out / strategy / f"seed-{seed}"
    command = [sys.executable, "-m", "deepal_autoal", "run", "--quiet", "--resume", "--out", str(out), "--threads", "1"]
    for name in ("dataset", "data_dir", "pool_size", "initial", "batch_size", "rounds"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    command += ["--strategy", strategy, "--seed", str(seed)]
    if strategy in ("vote", "autoal"):
        command += ["--candidates", arguments.candidates]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    records = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    print(f"{strategy} seed {seed}: {records[-1]['accuracy']:.4f}", file=sys.stderr, flush=True)
    return [
        {
            "strategy": strategy, "seed": seed, "round": record["round"], "n_labeled": record["n_labeled"],
            "accuracy": record["accuracy"], "train_s": round(record["seconds"]["train"], 3),
            "query_s": round(record["seconds"]["query"], 3),
        }
        for record in records
    ]  # fmt: skip


def summarize(rows: list[dict], strategies: list[str]) -> None:
    """Print AUBC and final accuracy, and the paired difference of AUBC to random with a bootstrap interval."""
    areas, finals = {}, {}
    for strategy in strategies:
        seeds = sorted({row["seed"] for row in rows if row["strategy"] == strategy})
        curves = [[row for row in rows if row["strategy"] == strategy and row["seed"] == seed] for seed in seeds]
        areas[strategy] = np.array([area(curve) for curve in curves])
        finals[strategy] = np.array([curve[-1]["accuracy"] for curve in curves])
    rng = np.random.default_rng(0)
    print("| strategy | AUBC | final accuracy | AUBC - random, points (95 %) | seeds above random |")
    print("|---|---|---|---|---|")
    for strategy in strategies:
        line = f"| `{strategy}` | {areas[strategy].mean():.4f} ± {areas[strategy].std(ddof=1):.4f} "
        line += f"| {finals[strategy].mean():.4f} ± {finals[strategy].std(ddof=1):.4f} "
        if strategy != "random" and "random" in areas:
            difference = 100 * (areas[strategy] - areas["random"])
            means = rng.choice(difference, (10_000, len(difference))).mean(axis=1)
            low, high = np.quantile(means, [0.025, 0.975])
            line += (
                f"| {difference.mean():+.2f} ({low:+.2f} … {high:+.2f}) | {(difference > 0).sum()}/{len(difference)} |"
            )
        else:
            line += "| | |"
        print(line)


def area(curve: list[dict]) -> float:
    """Return the area under the budget curve."""
    x = np.array([row["n_labeled"] for row in curve], dtype=float)
    y = np.array([row["accuracy"] for row in curve])
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / (x[-1] - x[0]))


if __name__ == "__main__":
    main()
