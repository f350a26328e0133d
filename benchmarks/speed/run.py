"""Measure time and memory of every strategy's query against plain NumPy code and scikit-activeml, in turn.

    python benchmarks/speed/run.py            # about 25 minutes on two quiet cores
    python benchmarks/speed/run.py --quick    # small sizes, a minute or two

Writes OUT/speed.csv after every case, then OUT/speed.md and two plots. Repeating the command continues where it
stopped; it does not notice changed code, so use `--fresh` then. README.md explains what is compared.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

# Strategies that can query a million candidates within a minute.
LARGE = "random,entropy,margin,leastconf,bald,varratio,meanstd,ddu,kmeans,coreset,badge,dbal"
PARTS = ("rules", "dropout", "million")
QUICK = {"sizes": "1000,2000,4000", "batch_sizes": "20,100", "classes": "10", "limit": 10.0, "patience": 1.0,
         "labeled": 200, "dims": 64, "parts": "rules"}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    options = read_arguments(arguments)
    # Before torch is imported, as the command line does: waiting threads sleep after a short spin.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    import dropout
    import large_pool
    import rules
    from cases import merged, read_rows, write_rows
    from plots import draw
    from tables import write_tables

    path = options.out / "speed.csv"
    rows = [] if options.fresh else read_rows(path)
    numbers = {name: [int(value) for value in getattr(options, name).split(",")]
               for name in ("sizes", "batch_sizes", "classes")}  # fmt: skip
    parts = options.parts.split(",")
    asked = rules.all_strategies() if options.strategies == "all" else options.strategies.split(",")
    plan = rules.Plan(
        asked, **numbers, ways=options.ways.split(","), dims=options.dims, labeled=options.labeled,
        repeats=options.repeats, limit=options.limit, patience=options.patience, memory=int(options.memory * 1e9),
        threads=options.threads, cpu_time=options.cpu_time,
    )  # fmt: skip
    start = time.perf_counter()

    def take(found: Iterable[list]) -> None:
        nonlocal rows
        for more in found:
            rows = merged(rows, more)
            write_rows(path, rows)
            print(f"[{(time.perf_counter() - start) / 60:.1f} min]", file=sys.stderr, flush=True)

    if not options.only_tables:
        if "rules" in parts:
            take(rules.run(plan, rows))
        if "dropout" in parts:
            finished = {row.strategy for row in rows if row.part == dropout.PART}
            models = [name for name in options.models.split(",") if name not in finished]
            take(dropout.run(models, options.repeats, options.threads))
        if "million" in parts:
            large = options.large_strategies.split(",")
            take(
                large_pool.run(large, options.large_size, options.dims, max(numbers["batch_sizes"]), options.threads,
                               20 * options.limit, options.folder, rows)
            )  # fmt: skip
    command = "python benchmarks/speed/run.py " + " ".join(arguments if arguments is not None else sys.argv[1:])
    text = write_tables(rows, command.strip(), options.limit)
    (options.out / "speed.md").write_text(text, encoding="utf-8")
    for ending in options.format.split(","):
        draw(rows, options.out, ending, max(numbers["batch_sizes"]), min(numbers["classes"]))
    print(f"{path}, {options.out / 'speed.md'}, {options.out}/speed-*.{options.format}")


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"with commas, from {', '.join(PARTS)}")
    parser.add_argument("--strategies", default="all", help="names, with commas")
    parser.add_argument("--ways", default="ours,plain,matrix,scikit-activeml,query")
    parser.add_argument("--sizes", default="5000,20000,50000", help="candidates, N")
    parser.add_argument("--batch-sizes", default="100,1000", help="b")
    parser.add_argument("--classes", default="10,100", help="C")
    parser.add_argument("--dims", type=int, default=512, help="D")
    parser.add_argument("--labeled", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds after which a measurement is stopped")
    parser.add_argument("--patience", type=float, default=3.0,
                        help="seconds in a case after which a way is not repeated (promised figures are)")  # fmt: skip
    parser.add_argument("--memory", type=float, default=8.0, help="GB that a process may take above its inputs")
    parser.add_argument("--threads", type=int, default=2, help="threads of all implementations")
    parser.add_argument("--cpu-time", action="store_true", help="measure CPU seconds, for a machine with other work")
    parser.add_argument("--models", default="cnn,resnet18", help="models of the part dropout")
    parser.add_argument("--large-size", type=int, default=1_000_000, help="candidates of the part million")
    parser.add_argument("--large-strategies", default=LARGE)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "deepal-large-pool",
                        help="where the large pool is kept")  # fmt: skip
    parser.add_argument("--out", type=Path, help="default: benchmarks/results, or ./speed-quick with --quick")
    parser.add_argument("--format", default="svg", help="format of the plots: svg, png or both, with a comma")
    parser.add_argument("--fresh", action="store_true", help="repeat measurements that are already in OUT")
    parser.add_argument("--only-tables", action="store_true", help="write tables and plots without measuring")
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that everything works")
    found = parser.parse_args(arguments)
    if found.quick:
        given = {name: getattr(found, name) for name in QUICK if getattr(found, name) != parser.get_default(name)}
        vars(found).update({**QUICK, **given})
    found.out = found.out or (Path("speed-quick") if found.quick else Path(__file__).parent.parent / "results")
    found.out.mkdir(parents=True, exist_ok=True)
    return found


if __name__ == "__main__":
    main()
