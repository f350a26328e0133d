"""Plots cost against the number of candidates, one panel per rule: seconds in one figure, memory in another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import rules
from cases import ACTIVEML, MATRIX, OURS, PLAIN, QUERY, Row
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

# As in reports: color-blind readers can distinguish them, and their contrast on white is at least 3:1.
COLORS = {OURS: "#000000", PLAIN: "#0077BB", MATRIX: "#117733", ACTIVEML: "#D55E00", QUERY: "#767676"}
MARKERS = {OURS: "o", PLAIN: "s", MATRIX: "D", ACTIVEML: "^", QUERY: "v"}
LABELS = {OURS: "ours", PLAIN: "plain", MATRIX: "N x N matrix", ACTIVEML: "scikit-activeml", QUERY: "whole query"}
STYLE = {
    "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 9,
    # The same numbers give the same file.
    "svg.hashsalt": "speed", "svg.fonttype": "none",
}  # fmt: skip
N_COLUMNS = 4
# Minimum distance between lines of text, in points.
LINE_HEIGHT = 9.0


def draw(rows: Sequence[Row], folder: Path, ending: str, batch_size: int, classes: int) -> None:
    """Draw both figures for one batch size and one number of classes."""
    mpl.use("Agg")
    chosen = [row for row in rows if row.part == rules.PART and (row.batch_size, row.classes) == (batch_size, classes)]
    with mpl.rc_context(STYLE):
        for what, unit in (("seconds", "s"), ("peak_mb", "MB above the inputs")):
            found = [row for row in chosen if row.status == "done" and getattr(row, what) != ""]
            name = "time" if what == "seconds" else "memory"
            if found:
                title = f"b = {batch_size:,}, C = {classes}"
                figure = panels(found, chosen if what == "seconds" else [], what, unit, title)
                path = folder / f"speed-{name}.{ending}"
                figure.savefig(path, dpi=120, metadata={"Date": None} if ending == "svg" else None)
                plt.close(figure)


def panels(found: Sequence[Row], tried: Sequence[Row], what: str, unit: str, title: str) -> plt.Figure:
    """Return a figure with one panel per strategy, on common axes."""
    names = sorted({row.strategy for row in found}, key=lambda name: (not any_rule(found, name), name))
    n_rows = -(-len(names) // N_COLUMNS)
    figure, axes = plt.subplots(
        n_rows, N_COLUMNS, figsize=(2.9 * N_COLUMNS, 2.1 * n_rows + 0.5), squeeze=False, sharex=True, sharey=True,
        layout="constrained",
    )  # fmt: skip
    sizes = sorted({row.n for row in found})
    largest = max(float(getattr(row, what)) for row in found)
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    for number, (name, axis) in enumerate(zip(names, axes.flat, strict=False)):
        axis.set_title(name, loc="left", fontweight="bold")
        axis.set(xscale="log", yscale="log")
        ends = []
        for way, color in COLORS.items():
            own = sorted((row for row in found if (row.strategy, row.way) == (name, way)), key=lambda row: row.n)
            if not own:
                continue
            # Smaller amounts of memory cannot be measured.
            values = [max(float(getattr(row, what)), 0.1 if what == "peak_mb" else 1e-6) for row in own]
            dash = (0, (3, 2)) if way == QUERY else "-"
            axis.plot([row.n for row in own], values, color=color, ls=dash, marker=MARKERS[way], ms=3.5, lw=1.3)
            ends.append((own[-1].n, values[-1], LABELS[way], color))
            stopped = [row.n for row in tried if (row.strategy, row.way, row.status) == (name, way, "stopped")]
            if stopped and what == "seconds":
                axis.plot(stopped, [1.6 * largest] * len(stopped), ls="", marker=MARKERS[way], ms=4, mfc="none",
                          color=color, clip_on=False)  # fmt: skip
        axis.set_xlim(sizes[0] / 1.2, sizes[-1] * (sizes[-1] / sizes[0]) ** 0.62)
        axis.set_xticks(sizes)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.tick_params(axis="x", which="minor", length=0)
        axis.tick_params(labelbottom=number >= len(names) - N_COLUMNS)
        axis.grid(axis="y", lw=0.4, color="#DDDDDD")
        if number % N_COLUMNS == 0:
            axis.set_ylabel(unit)
        if number >= len(names) - N_COLUMNS:
            axis.set_xlabel("candidates, N")
        axis.deepal_ends = ends  # type: ignore[attr-defined]
    above = ""
    if what == "seconds" and any(row.status == "stopped" for row in tried):
        above = "; hollow, at the top: stopped at the limit"
    figure.suptitle(f"{'Time' if what == 'seconds' else 'Peak memory'} of a query, {title}{above}", x=0.01, ha="left")
    figure.canvas.draw()
    for axis in axes.flat[: len(names)]:
        label_ends(axis, axis.deepal_ends)  # type: ignore[attr-defined]
    return figure


def any_rule(found: Sequence[Row], name: str) -> bool:
    return any(row.strategy == name and row.way == OURS for row in found)


def label_ends(axis: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each line's name next to its end, moving names apart that would overlap."""
    points = 72.0 / axis.figure.dpi
    places = []
    for x, y, label, color in sorted(ends, key=lambda end: end[1]):
        height = axis.transData.transform((x, y))[1] * points
        place = height if not places else max(height, places[-1][0] + LINE_HEIGHT)
        places.append((place, height, x, y, label, color))
    # Names pushed above the panel move down again, and push those below them.
    top = axis.bbox.y1 * points - 2.0
    for number in range(len(places) - 1, -1, -1):
        place = min(places[number][0], top - LINE_HEIGHT * (len(places) - 1 - number))
        places[number] = (place, *places[number][1:])
    for place, height, x, y, label, color in places:
        axis.annotate(
            label, (x, y), xytext=(6, place - height), textcoords="offset points", color=color, va="center", fontsize=7,
            annotation_clip=False,
        )  # fmt: skip
