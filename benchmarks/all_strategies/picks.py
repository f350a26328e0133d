"""Print how isolated a benchmark's picks are, and how they spread over the classes.

    python benchmarks/all_strategies/picks.py low --strategies coreset,maxherding,random

Reads run folders on `.npz` datasets. A sample's isolation is the share of pool samples whose distance to their tenth
neighbor (of 5,000 random samples) is smaller than its own: 0.5 for the median sample, near 1 for an outlier.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors

NEIGHBORS, REFERENCE, OUTLIERS = 10, 5_000, 0.95


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="the benchmark's folder")
    parser.add_argument("--strategies", required=True, metavar="A,B")
    options = parser.parse_args(arguments)
    print(f"{'dataset':12} {'strategy':16} {'isolation':>9} {'outliers':>9} {'smallest / largest class':>25}")
    for dataset in sorted(path for path in options.study.iterdir() if path.is_dir()):
        for strategy in options.strategies.split(","):
            runs = sorted((dataset / strategy).glob("seed-*"))
            if runs:
                isolation, balance = of_runs(runs)
                outliers = np.mean(isolation > OUTLIERS)
                print(f"{dataset.name:12} {strategy:16} {np.median(isolation):9.2f} {outliers:9.2f} {balance:25.2f}")


def of_runs(runs: Sequence[Path]) -> tuple[np.ndarray, float]:
    """Return the isolation of all picks, and the smallest class's share of the largest, the mean over runs."""
    config = json.loads((runs[0] / "config.json").read_text(encoding="utf-8"))
    with np.load(config["dataset"]["source"]["path"]) as file:
        x, y = file["x"].astype(np.float32), file["y"]
    reference = x[np.random.default_rng(0).choice(len(x), min(REFERENCE, len(x)), replace=False)]
    neighbors = NearestNeighbors(n_neighbors=NEIGHBORS + 1).fit(reference)
    usual = np.sort(neighbors.kneighbors(reference)[0][:, -1])
    isolation, balance = [], []
    for run in runs:
        with open(run / "queried.csv", newline="", encoding="utf-8") as table:
            picks = [int(row["index"]) for row in csv.DictReader(table)]
        isolation.append(np.searchsorted(usual, neighbors.kneighbors(x[picks])[0][:, -1]) / len(usual))
        counts = np.bincount(y[picks], minlength=int(y.max()) + 1)
        balance.append(counts.min() / counts.max())
    return np.concatenate(isolation), float(np.mean(balance))


if __name__ == "__main__":
    main()
