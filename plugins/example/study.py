"""Kernel herding against other strategies at very low budgets: the tables of the README.

For each seed every strategy starts from the same initial set, weights and data order, on one thread. The table gives,
over seeds, the area under the budget curve (AUBC), the accuracy after the first batch and after the last, and the
paired difference of AUBC to ``random`` with a 95% bootstrap interval.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np

from deepal_autoal import RunResult, run

STRATEGIES: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "margin": ("margin", {}),
    "kmeans": ("kmeans", {}),
    "typiclust": ("typiclust", {}),
    "kernel-herding": ("kernel-herding", {}),
}


def main() -> None:
    """Run every strategy with every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--initial", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=20)
    settings = vars(parser.parse_args())
    seeds = settings.pop("seeds")
    results: dict[str, list[RunResult]] = {label: [] for label in STRATEGIES}
    for seed in range(seeds):
        for label, (name, options) in STRATEGIES.items():
            result = run(name, options=options, seed=seed, device="cpu", threads=1, **settings)
            results[label].append(result)
            print(f"seed {seed} {label}: {result.aubc:.4f}", file=sys.stderr)
    areas = {label: [result.aubc for result in runs] for label, runs in results.items()}
    print("| strategy | AUBC | after one batch | at the end | AUBC - random, points (95%) | seeds above |")
    print("|---|---|---|---|---|---|")
    for label in sorted(STRATEGIES, key=lambda label: -np.mean(areas[label])):
        first = format_mean([result.rounds[1]["accuracy"] for result in results[label]])
        last = format_mean([result.accuracy for result in results[label]])
        area, difference = format_mean(areas[label]), compare(areas[label], areas["random"])
        print(f"| {label} | {area} | {first} | {last} | {difference} |")


def format_mean(values: list[float]) -> str:
    """Return mean and standard deviation."""
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"


def compare(values: list[float], others: list[float]) -> str:
    """Return the mean paired difference in points, its bootstrap interval, and the number of positive differences."""
    differences = 100 * (np.array(values) - np.array(others))
    if not differences.any():
        return "|"
    means = np.random.default_rng(0).choice(differences, (10_000, len(differences))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    above = int((differences > 0).sum())
    return f"{differences.mean():+.2f} ({low:+.2f} … {high:+.2f}) | {above}/{len(differences)}"


if __name__ == "__main__":
    main()
