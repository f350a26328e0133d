"""Plot the study from results/runs.csv: each selector against the best of its own candidates, setting by setting.

    python benchmarks/selectors/plots.py

Writes selectors.svg (or --format png) to the same folder.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from plan import CONTROL, POOLS, SELECTORS, SETTINGS, STAGES
from tables import RESULTS, Areas, best_single, read_runs

from deepal_autoal.statistics import Difference, compare

# Okabe and Ito's colors, which color-blind readers can distinguish, by the ending of the setting's name.
COLORS = {"low": "#0072B2", "medium": "#E69F00", "high": "#009E73", "": "#CC79A7"}
BUDGETS = {"low": "1 to 10 labels a class", "medium": "10 to 50", "high": "50 to 250", "": "tables and changed pools"}
TITLES = {
    "seven": "The AutoAL paper's seven candidates", "nine": "… and uherding, typiclust",
    "poor": "One good candidate among poor ones", "cheap": "All 22 cheap strategies",
}  # fmt: skip
NAMES = {
    "vote-autoal-stage": "vote, AutoAL's stage", "vote-diverse": "vote, k-means", CONTROL: "a random candidate",
}  # fmt: skip
STYLE = {
    "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    # The same numbers give the same file.
    "svg.hashsalt": "selectors", "svg.fonttype": "none",
}  # fmt: skip
# Beyond, points are at the edge.
LIMITS = (-10.0, 9.0)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--format", choices=("svg", "png"), default="svg")
    options = parser.parse_args(arguments)
    areas = read_runs(options.results / "runs.csv")[0]
    mpl.use("Agg")
    with mpl.rc_context(STYLE):
        draw(areas, options.results / f"selectors.{options.format}")


def draw(areas: Areas, path: Path) -> None:
    """Draw a panel for each pool of candidates."""
    pools = [pool for pool in POOLS if any(f"vote-{pool}" in found for found in areas.values())]
    endings = {f"vote-{ending}": f"vote-{{pool}}-{ending}" for ending in STAGES}
    rows = {**endings, **{name: f"{name}-{{pool}}" for name in SELECTORS}}
    order = sorted(rows, key=lambda name: _mean(areas, pools, rows[name]))
    figure, panels = plt.subplots(
        1, len(pools), figsize=(3.3 * len(pools), 0.42 * len(rows) + 1.2), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    used: set[str] = set()
    for panel, pool in zip(panels[0], pools, strict=True):
        used |= _draw_pool(panel, areas, pool, [rows[name].format(pool=pool) for name in order])
        panel.set_title(TITLES[pool], fontsize=8, loc="left")
    panels[0][0].set_yticks(range(len(order)), [NAMES.get(name, name) for name in order])
    figure.supxlabel("AUBC minus that of the best candidate, chosen in hindsight; points, 95% intervals", fontsize=8)
    shown = [budget for budget in COLORS if budget in used]
    handles = [mpl.lines.Line2D([], [], color=COLORS[budget], marker="o", markersize=4) for budget in shown]
    figure.legend(handles, [BUDGETS[budget] for budget in shown], loc="outside upper center", ncols=len(shown))
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)
    plt.close(figure)


def budget_of(setting: str) -> str:
    """Return the key of a setting's color."""
    return next((ending for ending in COLORS if ending and setting.endswith(f"-{ending}")), "")


def _mean(areas: Areas, pools: Sequence[str], label: str) -> float:
    """Return the mean difference to the best candidate over settings and pools."""
    found = [
        100 * difference.mean
        for pool in pools for name in areas
        if (difference := _difference(areas, name, pool, label.format(pool=pool))) is not None
    ]  # fmt: skip
    return float(np.mean(found)) if found else 0.0


def _difference(areas: Areas, setting: str, pool: str, label: str) -> Difference | None:
    own = areas[setting].get(label)
    return compare(own, areas[setting][best_single(areas[setting], POOLS[pool])]) if own else None


def _draw_pool(panel: Axes, areas: Areas, pool: str, labels: Sequence[str]) -> set[str]:
    settings = [name for name in SETTINGS if f"vote-{pool}" in areas.get(name, {})]
    panel.axvline(0, color="#999999", linewidth=0.8)
    for place, label in enumerate(labels):
        for number, name in enumerate(settings):
            difference = _difference(areas, name, pool, label)
            if difference is None:
                continue
            low, mean, high = (np.clip(100 * value, *LIMITS)
                               for value in (difference.low, difference.mean, difference.high))  # fmt: skip
            y = place + 0.7 * (0.5 - (number + 0.5) / len(settings))
            color = COLORS[budget_of(name)]
            panel.plot([low, high], [y, y], color=color, linewidth=1.0)
            is_certain = low > 0 or high < 0
            panel.plot(mean, y, "o", color=color, markersize=3.2, markerfacecolor=color if is_certain else "white")
    panel.set_xlim(*LIMITS)
    panel.grid(axis="x", color="#eeeeee")
    panel.set_axisbelow(True)
    return {budget_of(name) for name in settings}


if __name__ == "__main__":
    main()
