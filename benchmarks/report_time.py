"""Measure the CPU seconds of `deepal report` on a made-up study.

    OMP_NUM_THREADS=1 python benchmarks/report_time.py --strategies 20 --datasets 10 --seeds 10

Writes a results.csv of noisy learning curves, reports it in a separate process for each repeat, and prints the CPU
seconds of that process, imports included. With --tables, also writes the report's tables as CSV, to compare two
versions number by number.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from deepal_autoal.experiment.results import RESULT_COLUMNS, RESULTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", type=int, default=20)
    parser.add_argument("--datasets", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tables", type=Path, metavar="DIR")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = write_results(Path(folder) / RESULTS, options)
        for _ in range(options.repeats):
            print(f"{cpu_seconds([str(table), '--out', str(Path(folder) / 'report.html')]):.2f} CPU seconds")
        if options.tables is not None:
            cpu_seconds([str(table), "--format", "csv", "--out", str(options.tables)])


def write_results(path: Path, options: argparse.Namespace) -> Path:
    """Write a results.csv in which strategies differ by up to three points; the first one is random sampling."""
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(RESULT_COLUMNS)
        for dataset in range(options.datasets):
            for seed in range(options.seeds):
                common = 0.4 + 0.3 * np.linspace(0, 1, options.rounds + 1) + rng.normal(0, 0.02)
                for place in range(options.strategies):
                    strategy = "entropy" if place == 1 else f"strategy-{place}" if place else "random"
                    curve = common + 0.03 * place / options.strategies + rng.normal(0, 0.01, len(common))
                    for number, accuracy in enumerate(curve.clip(0, 1).tolist()):
                        counts = (seed, number, 100 * (number + 1), accuracy, 2.0, 0.1 * (1 + place))
                        writer.writerow((f"dataset-{dataset}", strategy, *counts))
    return path


def cpu_seconds(arguments: list[str]) -> float:
    """Return the user and system seconds of `deepal report` in a process of its own."""
    before = os.times()
    command = [sys.executable, "-m", "deepal_autoal", "report", "--quiet", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    main()
