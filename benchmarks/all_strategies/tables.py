"""Print the table of the study on embeddings: AUBC minus that of random, by dataset and budget.

    python benchmarks/all_strategies/tables.py

Reads embeddings/<budget>.csv beside this file.
"""

from pathlib import Path

import numpy as np

from deepal_autoal.experiment.results import read_results
from deepal_autoal.statistics import compare_to

FOLDER = Path(__file__).parent / "embeddings"
BUDGETS = ("low", "medium", "high")
BASELINE = "random"


def main() -> None:
    """Print Markdown: rows in the order of the mean over the columns."""
    cells: dict[str, dict[str, str]] = {}
    means: dict[str, list[float]] = {}
    levels: dict[str, float] = {}
    for budget in BUDGETS:
        path = FOLDER / f"{budget}.csv"
        if not path.exists():
            continue
        results = read_results(path)
        for dataset in sorted(results.datasets, reverse=True):
            column = f"{dataset} {budget}"
            areas = results.areas(dataset)
            levels[column] = 100 * float(np.mean(list(areas[BASELINE].values())))
            for found in compare_to(areas, BASELINE):
                difference, name = found.difference, found.ours
                low, mean, high = (
                    f"{100 * value:+.1f}" for value in (difference.low, difference.mean, difference.high)
                )
                text = f"{mean} ({low} … {high})".replace("-", "\N{MINUS SIGN}")
                cells.setdefault(name, {})[column] = f"**{text}**" if found.winner else text
                means.setdefault(name, []).append(difference.mean)
    columns = sorted(levels, key=lambda column: (column.split()[0] != "mnist", BUDGETS.index(column.split()[1])))
    print(row(["strategy", *columns]))
    print(row(["---"] * (1 + len(columns))))
    for name in sorted(cells, key=lambda name: -float(np.mean(means[name]))):
        print(row([f"`{name}`", *(cells[name].get(column, "") for column in columns)]))
    print(f"\n`{BASELINE}`: " + ", ".join(f"{column} {levels[column]:.1f}%" for column in columns))


def row(cells: list[str]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
