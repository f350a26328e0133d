"""Compare the estimates of `deepal run --dry-run` with the run's actual time and memory.

    python benchmarks/speed/dry_run.py --data-dir data -- --dataset mnist --pool-size 5000 --rounds 2 --threads 1
    python benchmarks/speed/dry_run.py --samples 20000 -- --initial 1000 --batch-size 1000 --rounds 1 --threads 1

Arguments after ``--`` are passed to `deepal run`. With --samples, a pool of embeddings is generated as in
`large_pool.py`, for the linear model. Each strategy's estimate and run are done in turn, each in a separate process,
--repeats times, since other work on the machine comes and goes (if it is constant, use --cpu with --threads 1). The
table shows medians, and the medians of pairwise ratios. Seconds are those of the rounds. Memory is the process's peak
resident memory, including mapped files.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from large_pool import write

PHASES = ("train", "evaluate", "query")
# A phase's cells hold the estimated and the actual seconds.
HEAD = (
    "strategy", "train s", "evaluate s", "query s", "all s: estimated", "actual", "ratio", "MiB: estimated", "actual",
    "ratio",
)  # fmt: skip
# CPU seconds of the process, if other work shares the cores: with one thread, the wall time of an idle machine.
CPU_CLOCK = "import time; time.perf_counter = time.process_time; "
MAIN = "from deepal_autoal.cli.main import main; main()"
COMMAND = [sys.executable, "-c", MAIN, "run"]

# Training, evaluation, first query, queries, total, peak, query memory, dominating part.
LINE = re.compile(r"\S+ +([\d.,]+) +([\d.,]+) +[\d.,]+ +([\d.,]+) +\d[\w. ]* (?:s|min) +([\d,]+) +[\d,]+ +\D.*")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", default="all")
    parser.add_argument("--leave-out", default="vaal", help="strategies to leave out of all")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--samples", type=int, default=0)
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--data-dir", default=None)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "deepal-large-pool")
    parser.add_argument("--cpu", action="store_true", help="measure CPU time instead of wall time")
    parser.add_argument("run", nargs="*", help="options of `deepal run`")
    options = parser.parse_args()
    given = list(options.run)
    if options.cpu:
        COMMAND[2] = CPU_CLOCK + MAIN
    if options.data_dir:
        given += ["--data-dir", options.data_dir]
    if options.samples:
        file = options.folder / f"embeddings-{options.samples}x{options.dims}.npz"
        if not file.exists():
            write(file, options.samples, options.dims)
        given += ["--dataset", str(file), "--model", "linear"]
    print(f"| {' | '.join(HEAD)} |")
    print("|---" * len(HEAD) + "|")
    times, sizes = [], []
    for strategy in names(options.strategies, options.leave_out):
        pairs = []
        for _ in range(options.repeats):
            said = estimate([*given, "--strategy", strategy])
            if said is None:
                break
            pairs.append((said, measure([*given, "--strategy", strategy])))
        if not pairs:
            print(f"{strategy}: no estimate", file=sys.stderr)
            continue
        line, time_ratio, size_ratio = row(strategy, pairs)
        print(line, flush=True)
        times.append(time_ratio)
        sizes.append(size_ratio)
    for what, ratios in (("time", times), ("memory", sizes)):
        within = sum(1 / 1.5 <= ratio <= 1.5 for ratio in ratios)
        print(f"{what}: {within} of {len(ratios)} within a factor of 1.5; estimated / actual {min(ratios):.2f} to "
              f"{max(ratios):.2f}, median {statistics.median(ratios):.2f}", file=sys.stderr)  # fmt: skip


def row(strategy: str, pairs: list[tuple[dict[str, float], dict[str, float]]]) -> tuple[str, float, float]:
    """Return a line of the table, and the ratios of time and memory."""
    middle = [{key: statistics.median(pair[side][key] for pair in pairs) for key in pairs[0][0]} for side in (0, 1)]
    ratios = {key: statistics.median(said[key] / taken[key] for said, taken in pairs) for key in ("all", "mib")}
    cells = [f"{middle[0][phase]:.2f} / {middle[1][phase]:.2f}" for phase in PHASES]
    cells += [f"{middle[0]['all']:.1f}", f"{middle[1]['all']:.1f}", f"{ratios['all']:.2f}"]
    cells += [f"{middle[0]['mib']:,.0f}", f"{middle[1]['mib']:,.0f}", f"{ratios['mib']:.2f}"]
    return f"| `{strategy}` | {' | '.join(cells)} |", ratios["all"], ratios["mib"]


def names(given: str, left_out: str) -> list[str]:
    if given != "all":
        return given.split(",")
    from deepal_autoal import plugin_host

    return [name for name in plugin_host().strategies.names() if name not in left_out.split(",")]


def estimate(arguments: list[str]) -> dict[str, float] | None:
    """Return the dry run's estimate; None if the strategy cannot run."""
    done = subprocess.run([*COMMAND, "--dry-run", "--quiet", *arguments], stdout=subprocess.PIPE, text=True)
    lines = [found for line in done.stdout.splitlines() if (found := LINE.fullmatch(line))]
    if done.returncode or not lines:
        return None
    train, evaluate, query, mib = (float(cell.replace(",", "")) for cell in lines[0].groups())
    return {"train": train, "evaluate": evaluate, "query": query, "all": train + evaluate + query, "mib": mib}


def measure(arguments: list[str]) -> dict[str, float]:
    """Return the time and memory of a run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        process = subprocess.Popen([*COMMAND, "--quiet", *arguments, "--out", str(out)], stdout=subprocess.DEVNULL)
        peak = 0
        # A query's own measurement resets the peak, so the highest one has to be polled.
        while process.poll() is None:
            peak = max(peak, peak_of(process.pid))
            time.sleep(0.02)
        if process.returncode:
            sys.exit(f"deepal run {' '.join(arguments)} failed")
        rounds = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    taken = {phase: sum(record["seconds"][phase] for record in rounds) for phase in PHASES}
    return {**taken, "all": sum(taken.values()), "mib": peak / 2**20}


def peak_of(pid: int) -> int:
    """Return a process's peak resident memory since the last reset, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    main()
