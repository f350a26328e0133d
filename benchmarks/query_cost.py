"""Query time and peak memory of every strategy on precomputed embeddings, each in a process of its own.

    python benchmarks/query_cost.py --sizes 10000,50000

The pool is a mixture of overlapping Gaussians, one a class; the model is `linear`, whose embeddings are the inputs
(`mlp` for strategies that need stages). The task model is trained before the clock starts. Time and memory are those of
`ActiveLearner.query`: the pass over the pool, whatever the strategy trains, and its selection. Memory is the process's
peak above what it held before, so it counts the outputs of the pass, N·(C + D) float32, and that torch and
scikit-learn load parts of themselves when they are first used.
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

# Options that keep a slow method's query to minutes; the table names them.
OPTIONS = {"vaal": {"epochs": 1}}
MODELS = {"lpl": "mlp"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", default="all")
    parser.add_argument("--sizes", default="10000,50000", help="candidates, N")
    parser.add_argument("--batch-size", type=int, default=1000)
    parser.add_argument("--labeled", type=int, default=1000)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--csv", type=Path, default=None)
    parser.add_argument("--one", default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments, arguments.one, int(arguments.sizes))))
        return

    sizes = [int(size) for size in arguments.sizes.split(",")]
    rows = []
    for strategy in names(arguments.strategies):
        for size in sizes:
            rows.append({"strategy": strategy, "n": size, **in_own_process(arguments, strategy, size)})
            print(f"{strategy} N={size}: {rows[-1]['seconds']:.2f} s, {rows[-1]['peak_mb']:.0f} MB",
                  file=sys.stderr, flush=True)  # fmt: skip
    if arguments.csv:
        with open(arguments.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    print("| strategy | " + " | ".join(f"s, N={n:,} | MB, N={n:,}" for n in sizes) + " |")
    print("|---" * (1 + 2 * len(sizes)) + "|")
    for start in range(0, len(rows), len(sizes)):
        cells = [f"{row['seconds']:.2f} | {row['peak_mb']:.0f}" for row in rows[start : start + len(sizes)]]
        options = "".join(f" -o {key}={value}" for key, value in OPTIONS.get(rows[start]["strategy"], {}).items())
        print(f"| `{rows[start]['strategy']}{options}` | {' | '.join(cells)} |")


def names(given: str) -> list[str]:
    if given != "all":
        return given.split(",")
    from deepal_autoal import plugin_host

    return [entry.name for entry in plugin_host().strategies.entries()]


def in_own_process(arguments: argparse.Namespace, strategy: str, size: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", strategy, "--sizes", str(size)]
    for name in ("batch_size", "labeled", "dimensions", "classes", "threads"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(arguments: argparse.Namespace, strategy: str, size: int) -> dict[str, float]:
    import numpy as np
    import torch

    from deepal_autoal import ActiveLearner, create_strategy
    from deepal_autoal.measure import PeakMemory, Stopwatch

    torch.set_num_threads(arguments.threads)
    rng = np.random.default_rng(0)
    n = size + arguments.labeled
    labels = rng.integers(arguments.classes, size=n)
    labels[: arguments.classes] = np.arange(arguments.classes)
    centers = rng.normal(size=(arguments.classes, arguments.dimensions), scale=0.12)
    pool = (centers[labels] + rng.normal(size=(n, arguments.dimensions))).astype(np.float32)
    learner = ActiveLearner(
        pool, create_strategy(strategy, **OPTIONS.get(strategy, {})), arguments.classes,
        model=MODELS.get(strategy, "linear"), recipe={"min_steps": 100}, device="cpu", n_rounds=10,
    )  # fmt: skip
    labeled = np.arange(arguments.labeled)
    learner.tell(labeled, labels[labeled])
    learner.fit()
    peak = PeakMemory(learner.device)
    with Stopwatch() as clock, peak:
        learner.query(arguments.batch_size)
    return {"seconds": round(clock.seconds, 3), "peak_mb": round((peak.n_bytes or 0) / 1e6, 1)}


if __name__ == "__main__":
    main()
