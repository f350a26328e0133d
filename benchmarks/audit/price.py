"""What an audit costs in accuracy, as its labels are drawn at random: AUBC with shares of 0 to 0.2, in paired runs.

    python benchmarks/autoal/embeddings.py --data data --out study-data       # embeddings of MNIST and CIFAR-10
    python benchmarks/selectors/data.py --out study-data                      # scikit-learn's tables
    python benchmarks/audit/price.py --data study-data --out study

A `deepal benchmark` for each dataset and share, with the same seeds, so that runs of all shares begin with the same
labels. Nothing is estimated (``--audit-folds 0``): which samples are asked for does not depend on that. It can be
stopped at any time, and the same command continues.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

SHARES = (0.0, 0.05, 0.1, 0.2)
# Datasets, and the size of a random subset of the pool; None for all of it.
POOLS: Mapping[str, int | None] = {"digits8": None, "breast-cancer": None, "mnist": 3_000, "cifar10": 3_000}
STRATEGIES = {"margin": "margin", "autoal": "autoal[candidates=[entropy,margin,kmeans]]"}
BUDGET = ("--model", "linear", "--initial", "20", "--batch-size", "20", "--rounds", "10")
HERE = Path(__file__).parent
COLUMNS = ("dataset", "strategy", "share", "seed", "aubc", "final_accuracy")
Aubc = Mapping[tuple[str, str, float], Mapping[int, float]]


def command(data: Path, out: Path, dataset: str, share: float, seeds: str) -> list[str]:
    """Return the arguments of one benchmark; without an audit, ``random`` is there for comparison."""
    strategies = [name if name == text else f"{name}={text}" for name, text in STRATEGIES.items()]
    line = ["benchmark", "--strategies", ",".join([*strategies, *(["random"] if share == 0 else [])])]
    line += ["--datasets", str(data / f"{dataset}.npz"), *BUDGET, "--seeds", seeds, "--threads", "1", "--jobs", "1"]
    size = POOLS[dataset]
    line += [] if size is None else ["--pool-size", str(size)]
    line += ["--audit", str(share), "--audit-folds", "0"] if share else []
    return [*line, "--out", str(out / f"{dataset}-{share}")]


def read_runs(out: Path) -> list[dict[str, str]]:
    """Return a row for each finished run, in the order of `COLUMNS`."""
    rows = []
    for dataset in POOLS:
        for share in SHARES:
            curves: dict[tuple[str, str], list[tuple[int, float]]] = {}
            path = out / f"{dataset}-{share}" / "results.csv"
            if not path.exists():
                continue
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    point = int(row["n_labeled"]), float(row["accuracy"])
                    curves.setdefault((row["strategy"], row["seed"]), []).append(point)
            for (strategy, seed), curve in sorted(curves.items()):
                n_labels, accuracies = map(np.array, zip(*sorted(curve), strict=True))
                areas = np.diff(n_labels) * (accuracies[1:] + accuracies[:-1]) / 2
                aubc = areas.sum() / (n_labels[-1] - n_labels[0])
                values = dataset, strategy, f"{share:g}", seed, f"{aubc:.5f}", f"{accuracies[-1]:.5f}"
                rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def price(aubc: Aubc, dataset: str, strategy: str, share: float) -> tuple[float, float, int, int]:
    """Return the mean difference in AUBC to no audit, in points, its standard error, and how many seeds lost, of how
    many."""  # fmt: skip
    without, with_audit = aubc[dataset, strategy, 0.0], aubc[dataset, strategy, share]
    differences = 100 * np.array([with_audit[seed] - without[seed] for seed in sorted(without.keys() & with_audit)])
    error = differences.std(ddof=1) / np.sqrt(len(differences)) if len(differences) > 1 else np.nan
    return float(differences.mean()), float(error), int((differences < 0).sum()), len(differences)


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the README's table: AUBC without an audit and the differences to it."""
    aubc: dict[tuple[str, str, float], dict[int, float]] = {}
    for row in rows:
        key = row["dataset"], row["strategy"], float(row["share"])
        aubc.setdefault(key, {})[int(row["seed"])] = float(row["aubc"])
    shares = [share for share in SHARES if share]
    lines = ["| dataset | strategy | AUBC | minus `random` | " + " | ".join(f"{share:g}" for share in shares) + " |",
             "|---" * (4 + len(shares)) + "|"]  # fmt: skip
    for dataset in POOLS:
        for strategy in STRATEGIES:
            if not {(dataset, strategy, share) for share in SHARES} | {(dataset, "random", 0.0)} <= aubc.keys():
                continue
            base, plain = aubc[dataset, strategy, 0.0], aubc[dataset, "random", 0.0]
            gain = 100 * np.mean([base[seed] - plain[seed] for seed in base.keys() & plain])
            cells = [f"{100 * np.mean(list(base.values())):.1f}", f"{gain:+.1f}"]
            for share in shares:
                mean, error, lost, n = price(aubc, dataset, strategy, share)
                cells.append(f"{mean:+.2f} ± {error:.2f} ({lost} of {n})")
            lines.append(f"| {dataset} | `{strategy}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("study-data"))
    parser.add_argument("--out", type=Path, default=Path("study"))
    parser.add_argument("--seeds", default="10", help="a number of seeds, or a list such as 0,1")
    parser.add_argument("--list", action="store_true", help="only print the commands")
    parser.add_argument("--results", type=Path, default=HERE, help="folder of price.csv")
    options = parser.parse_args(arguments)
    for dataset in POOLS:
        for share in SHARES:
            line = command(options.data, options.out, dataset, share, options.seeds)
            print("deepal", shlex.join(line), flush=True)
            if not options.list:
                subprocess.run([sys.executable, "-m", "deepal_autoal", *line], check=True)
    if options.list:
        return
    rows = read_runs(options.out)
    options.results.mkdir(parents=True, exist_ok=True)
    with (options.results / "price.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    print(table(rows))


if __name__ == "__main__":
    main()
