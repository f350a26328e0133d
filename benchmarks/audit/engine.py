"""How often the audit's intervals hold, with the engine itself, its models and strategies.

    python benchmarks/autoal/embeddings.py --data data --out study-data       # embeddings of MNIST and CIFAR-10
    python benchmarks/selectors/data.py --out study-data                      # scikit-learn's tables
    python benchmarks/audit/engine.py --data study-data

Each project is an `ActiveLearner` with ``audit=0.1`` on a pool and a test set that are drawn anew, with 50 labels and
then batches of 20. After each of two numbers of labels, the truth is the accuracy on the test set and on the rest of
the pool. Projects go to engine.csv; the same command continues. --table prints the README's table.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepal_autoal import ActiveLearner

INITIAL, BATCH, CHECKED, SHARE = 50, 20, (2, 6), 0.1
DATASETS = ("digits8", "breast-cancer", "mnist", "cifar10", "mnist-imbalanced")
STRATEGIES: Mapping[str, str] = {
    "margin": "margin", "badge": "badge", "autoal": "autoal[candidates=[entropy,margin,kmeans]]",
}  # fmt: skip
# Of each dataset, so many samples at most are a project's: a third for the test set, the rest the pool.
MOST = 6_000
PROJECTS = 14
TABLE = Path(__file__).parent / "engine.csv"
COLUMNS = (
    "dataset", "strategy", "seed", "n_labels", "audited", "on_test", "estimate", "low", "high",
    "on_rest", "rest_estimate", "rest_low", "rest_high",
)  # fmt: skip


def project(path: Path, strategy: str, seed: int) -> Iterator[dict[str, Any]]:
    """Simulate one project, and yield a row for each number of labels in `CHECKED` batches."""
    with np.load(path) as data:
        x, y = data["x"], data["y"].astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(x))[:MOST]
    test, pool = np.split(order, [len(order) // 3])
    learner = ActiveLearner(x[pool], STRATEGIES[strategy], int(y.max()) + 1, seed=seed, audit=SHARE)
    truth = y[pool]
    for number in range(max(CHECKED) + 1):
        asked = learner.ask(BATCH if number else INITIAL)
        learner.tell(asked, truth[asked])
        if number not in CHECKED:
            continue
        rest, found = learner.unlabeled_indices, learner.estimate()
        assert found is not None and found.rest is not None
        values = (
            path.stem, strategy, seed, len(learner.labeled_indices), found.accuracy.n,
            np.mean(learner.predict(x[test]) == y[test]),
            found.accuracy.estimate, found.accuracy.low, found.accuracy.high,
            np.mean(learner.predict(x[pool][rest]) == truth[rest]),
            found.rest.estimate, found.rest.low, found.rest.high,
        )  # fmt: skip
        yield {name: f"{value:.5f}" if isinstance(value, float) else value
               for name, value in zip(COLUMNS, values, strict=True)}  # fmt: skip


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return how often intervals hold, by dataset, by strategy and over all, as Markdown."""
    lines = [
        "| | labels | projects | accuracy | bias | coverage | width | rest of the pool: bias | coverage | width |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups = [("dataset", name, name) for name in DATASETS] + [("strategy", name, f"`{name}`") for name in STRATEGIES]
    for (column, name, title), n in itertools.product(
        [*groups, ("", "", "all")], sorted({int(row["n_labels"]) for row in rows})
    ):
        own = [row for row in rows if row.get(column, "") == name and int(row["n_labels"]) == n]
        if own:
            lines.append(f"| {title} | {n} | {len(own)} | {_figures(own)} |")
    return "\n".join(lines)


def _figures(rows: Sequence[Mapping[str, str]]) -> str:
    column = {name: np.array([float(row[name]) for row in rows]) for name in COLUMNS[5:]}
    found = [f"{100 * column['on_test'].mean():.1f}"]
    for truth, prefix in (("on_test", ""), ("on_rest", "rest_")):
        low, high = column[f"{prefix}low"], column[f"{prefix}high"]
        bias = (column[f"{prefix}estimate"] - column[truth]).mean()
        coverage = ((low <= column[truth]) & (column[truth] <= high)).mean()
        found += [f"{100 * bias:+.1f}", f"{100 * coverage:.1f}", f"{100 * (high - low).mean():.1f}"]
    return " | ".join(found)


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows so far."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("study-data"))
    parser.add_argument("--projects", type=int, default=PROJECTS, help="of each dataset and strategy")
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = read(options.out)
    finished = {(row["dataset"], row["strategy"], int(row["seed"])) for row in rows}
    for number, dataset, (place, strategy) in itertools.product(
        range(options.projects), DATASETS, enumerate(STRATEGIES)
    ):
        # No two projects on a dataset audit the same samples.
        seed = 1000 * place + number
        if options.table or (dataset, strategy, seed) in finished:
            continue
        found = list(project(options.data / f"{dataset}.npz", strategy, seed))
        with options.out.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if not rows:
                writer.writeheader()
            writer.writerows(found)
        rows += found
        print(*(f"{name} {found[-1][name]}" for name in COLUMNS), flush=True)
    print(table(read(options.out)))


if __name__ == "__main__":
    main()
