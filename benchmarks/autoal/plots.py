"""Plot the study from the files that tables.py wrote: learning curves, weights by round (Fig. 5), differences.

    python benchmarks/autoal/plots.py --results benchmarks/autoal/results

Only this script needs matplotlib. Writes SVG (or --format png) files to the same folder.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plan import ORACLE, OURS, SEVEN
from results import RUNS_CSV, WEIGHTS_CSV, StudyRun, read_runs, read_weights
from tables import DIFFERENCES_CSV, POOLED, place_of

CURVES = ("random", "margin", "kmeans", "dbal", "albl", "vote", OURS, ORACLE)
WEIGHTED = (OURS, ORACLE)
GROUPS = ("core", "main", "pools", "figure3", "ablations")
# Okabe and Ito's colors, which color-blind readers can distinguish; ours is black.
COLORS = ("#999999", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#000000", "#D55E00")
BETTER, WORSE, UNSURE = "#0072B2", "#D55E00", "#777777"
STYLE = {
    "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    # The same numbers give the same file.
    "svg.hashsalt": "autoal", "svg.fonttype": "none",
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--format", choices=("svg", "png"), default="svg")
    options = parser.parse_args(arguments)
    folder, ending = options.results, options.format
    mpl.use("Agg")
    with mpl.rc_context(STYLE):
        draw_curves(read_runs(folder / RUNS_CSV), folder / f"curves.{ending}")
        weights = read_weights(folder / WEIGHTS_CSV)
        for label in WEIGHTED:
            rows = [row for row in weights if row["label"] == label]
            if rows:
                draw_weights(rows, label, folder / f"weights-{label}.{ending}")
        with open(folder / DIFFERENCES_CSV, newline="", encoding="utf-8") as file:
            differences = list(csv.DictReader(file))
        for group in GROUPS:
            rows = [row for row in differences if row["group"] == group]
            if rows:
                draw_forest(rows, folder / f"differences-{group}.{ending}")


def panels(names: Sequence[str], height: float = 2.2) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with a panel for each setting, four in a row."""
    n_columns = min(4, len(names))
    n_rows = -(-len(names) // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(2.6 * n_columns, height * n_rows + 0.5), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    for name, axis in zip(names, axes.flat, strict=False):
        axis.set_title(name)
    return figure, dict(zip(names, axes.flat, strict=False))


def draw_curves(runs: Sequence[StudyRun], path: Path) -> None:
    """Draw accuracy against the number of labels, the mean over seeds with its standard error."""
    settings = sorted({run.setting for run in runs}, key=place_of)
    figure, axes = panels(settings)
    for setting, axis in axes.items():
        for label, color in zip(CURVES, COLORS, strict=True):
            own = [run for run in runs if run.setting == setting and run.label == label]
            if own:
                curves = 100 * np.array([run.accuracy for run in own])
                center = curves.mean(axis=0)
                error = curves.std(axis=0, ddof=1) / len(own) ** 0.5 if len(own) > 1 else np.zeros_like(center)
                dashes = "--" if label == ORACLE else "-"
                axis.plot(own[0].n_labeled, center, dashes, color=color, lw=1.2, label=shown(label))
                axis.fill_between(own[0].n_labeled, center - error, center + error, color=color, alpha=0.15, lw=0)
        axis.set_xlabel("labels")
        axis.set_ylabel("test accuracy, %")
    add_legend(figure, axes)
    save(figure, path)


def draw_weights(rows: Sequence[dict[str, str]], label: str, path: Path) -> None:
    """Draw the mean weight of each candidate by round; the dotted line is where all weights are equal."""
    settings = sorted({row["setting"] for row in rows}, key=place_of)
    figure, axes = panels(settings)
    for setting, axis in axes.items():
        for name, color in zip(SEVEN, COLORS, strict=False):
            own = [row for row in rows if row["setting"] == setting and row["candidate"] == name]
            axis.plot(
                [int(row["round"]) for row in own], [float(row["mean"]) for row in own], "o-", ms=2, lw=1.2,
                color=color, label=name,
            )  # fmt: skip
        axis.axhline(1 / len(SEVEN), color="black", lw=0.8, ls=":")
        axis.set_xlabel("round")
        axis.set_ylabel("share of seeds" if label == ORACLE else "weight")
        axis.set_ylim(bottom=0)
    figure.suptitle(f"{shown(label)}: " + ("how often it chose each candidate" if label == ORACLE else "weights"))
    add_legend(figure, axes)
    save(figure, path)


def draw_forest(rows: Sequence[dict[str, str]], path: Path) -> None:
    """Draw differences of AUBC with their intervals, and in the last panel the means over settings as diamonds."""
    settings = sorted({row["setting"] for row in rows} - {POOLED}, key=place_of)
    labels = list(dict.fromkeys(row["label"] for row in rows))
    figure, axes = panels([*settings, "mean over settings"], height=0.13 * len(labels) + 0.6)
    for setting, axis in axes.items():
        found = {row["label"]: row for row in rows if row["setting"] == (setting if setting in settings else POOLED)}
        places = [place for place, label in enumerate(labels) if label in found]
        center, low, high = (
            np.array([float(found[labels[place]][key]) for place in places]) for key in ("difference", "low", "high")
        )
        colors = np.select([low > 0, high < 0], [BETTER, WORSE], UNSURE)
        axis.hlines(places, low, high, colors=colors, lw=1.2)
        axis.scatter(center, places, marker="o" if setting in settings else "D", c=colors, s=8, zorder=3)
        axis.axvline(0, color="black", lw=0.8)
        is_leftmost = axis in figure.axes[:: min(4, len(axes))]
        names = [shown(label) for label in labels] if is_leftmost else []
        axis.set_yticks(range(len(names)), names, fontsize=6)
        axis.set_ylim(len(labels) - 0.5, -0.5)
        axis.set_xlabel("AUBC, points")
    figure.suptitle(f"{OURS} minus ... (right of 0: {OURS} is better), 95% intervals")
    save(figure, path)


def shown(label: str) -> str:
    return f"{label} (oracle)" if label == ORACLE else label


def add_legend(figure: Figure, axes: dict[str, Axes]) -> None:
    """Put one legend for all panels below the panels."""
    found = dict(pair[::-1] for axis in axes.values() for pair in zip(*axis.get_legend_handles_labels(), strict=True))
    figure.legend(
        list(found.values()), list(found), loc="outside lower center", ncols=len(found) if len(found) < 9 else 8
    )


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


if __name__ == "__main__":
    main()
