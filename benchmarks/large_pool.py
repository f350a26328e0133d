"""Time and memory of whole runs over a pool of embeddings that is larger than most.

    python benchmarks/large_pool.py --samples 1000000 --dims 512 --strategies margin,kmeans,badge,coreset

Writes float16 embeddings of 100 overlapping classes as an .npz (about a gigabyte at the default size; kept in --folder,
and used again), then runs each strategy in a process of its own: a linear model, an initial set of 1,000 and one query
of 1,000. Prints seconds a phase, wall seconds, and the process's peak memory, with mapped file pages counted in.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deepal_autoal.datasets.array_cache import ArrayBlocks
from deepal_autoal.datasets.npz_writer import write_npz

N_CLASSES, N_TEST, BLOCK = 100, 10_000, 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=1_000)
    parser.add_argument("--strategies", default="margin,kmeans,badge,coreset")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "deepal-large-pool")
    options = parser.parse_args()
    file = options.folder / f"embeddings-{options.samples}x{options.dims}.npz"
    if not file.exists():
        write(file, options.samples, options.dims)
    print("| strategy | load s | train s | query s | wall s | peak MB of the process | peak MB of the query |")
    print("|---|---|---|---|---|---|---|")
    for strategy in options.strategies.split(","):
        print(measure(strategy, file, options.batch_size), flush=True)


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


def measure(strategy: str, file: Path, batch_size: int) -> str:
    """Return a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [
            sys.executable, "-m", "deepal_autoal", "run", "--quiet", "--strategy", strategy, "--dataset", str(file),
            "--model", "linear", "--initial", "1000", "--batch-size", str(batch_size), "--rounds", "1", "--out",
            str(out),
        ]  # fmt: skip
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        if status:
            sys.exit(f"{' '.join(command)} failed")
        rounds = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    seconds = {phase: sum(record["seconds"][phase] for record in rounds) for phase in ("train", "evaluate", "query")}
    rest = wall - sum(seconds.values())
    peak = max(record["query_peak_bytes"] or 0 for record in rounds) / 2**20  # none in the last round
    cells = [f"{rest:.1f}", f"{seconds['train']:.1f}", f"{seconds['query']:.1f}", f"{wall:.1f}"]
    return f"| `{strategy}` | " + " | ".join(cells) + f" | {usage.ru_maxrss / 1024:,.0f} | {peak:,.0f} |"


if __name__ == "__main__":
    main()
