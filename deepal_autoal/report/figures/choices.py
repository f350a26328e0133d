"""Draws what strategies choose on a two-dimensional dataset: a small picture each."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.experiment.toy_choice import MODEL, ToyChoice
from deepal_autoal.report.figures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Light blue, light yellow and pink of Tol's scheme "light", which differ for all kinds of color vision; the choice, in
# Okabe and Ito's vermillion, is darker than all of them.
CLASS_COLORS = ("#77AADD", "#DDCC77", "#FFAABB")
CHOSEN = "#D55E00"
COLUMNS = 6
_GAP, _HEAD, _LEGEND = 8.0, 14.0, 24.0
_ALONE = 300.0


@canvas.drawing()
def choices(found: Mapping[str, ToyChoice]) -> Figure:
    """Draw the choices of strategies, by name, in rows of six; a single one is drawn larger.

    Args:
        found: The choices; a failed one's reason stands in the picture's place.
    """
    columns = min(COLUMNS, len(found))
    side = _ALONE if columns == 1 else (canvas.WIDTH - 2 * canvas.MARGIN - (columns - 1) * _GAP) / columns
    rows = -(-len(found) // columns)
    height = _LEGEND + rows * (side + _HEAD + _GAP) + canvas.MARGIN
    first = next(iter(found.values()))
    n_chosen = max(len(choice.chosen) for choice in found.values())
    title = f"What {next(iter(found))} chooses" if len(found) == 1 else "What each strategy chooses"
    note = (
        f"{len(first.x)} samples of three classes, {len(first.labeled)} labeled, {n_chosen} to choose; model {MODEL}, "
        "one seed, the strategies' default options. Lines: where the model's prediction changes. Two classes touch in "
        "a heap of near-duplicates, no label resembles the group at the upper left, and outliers are at the upper "
        "right. Strategies see the model's outputs or its 128 embedding dimensions, not this plane."
    )
    figure = canvas.new_figure(height, "choices", title, note)
    top = height - _LEGEND
    _draw_legend(canvas.add_axes(figure, canvas.MARGIN, top, canvas.WIDTH - 2 * canvas.MARGIN, _LEGEND - 6))
    for number, (name, choice) in enumerate(found.items()):
        left = canvas.MARGIN + number % columns * (side + _GAP)
        bottom = top - (number // columns + 1) * (side + _HEAD + _GAP)
        axes = canvas.add_axes(figure, left, bottom, side, side)
        scale = 1.0 if columns > 1 else 2.0
        axes.set_title(canvas.shorten(name, side), loc="left", pad=3)
        _draw(axes, choice, scale) if not choice.failure else _explain(axes, choice.failure, side)
    return figure


def _draw(axes: Axes, choice: ToyChoice, scale: float) -> None:
    colors = np.array(CLASS_COLORS)[choice.y]
    axes.scatter(choice.x[:, 0], choice.x[:, 1], s=4 * scale**2, c=colors, linewidths=0)
    if choice.predicted is not None:
        for label in np.unique(choice.predicted):
            inside = (choice.predicted == label).astype(float)
            if 0 < inside.mean() < 1:
                axes.contour(choice.grid, choice.grid, inside, levels=[0.5], colors="#999999", linewidths=0.6)
    known = choice.x[choice.labeled]
    axes.scatter(known[:, 0], known[:, 1], s=14 * scale**2, c=canvas.INK, marker="x", linewidths=0.9 * scale)
    picks = choice.x[choice.chosen]
    axes.scatter(
        picks[:, 0], picks[:, 1], s=13 * scale**2, c=CHOSEN, edgecolors=canvas.INK, linewidths=0.5 * scale, zorder=3
    )
    _frame(axes)
    axes.set_xlim(choice.grid[0], choice.grid[-1])
    axes.set_ylim(choice.x[:, 1].min() - 0.3, choice.x[:, 1].max() + 0.3)


def _explain(axes: Axes, failure: str, side: float) -> None:
    lines = textwrap.wrap(failure, width=max(10, int(side / (0.55 * canvas.SMALL))))
    most = int((side - 8) / 9.5)
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1] + " …"]
    axes.text(0.03, 0.96, "\n".join(lines), va="top", fontsize=canvas.SMALL, color=canvas.MUTED)
    _frame(axes)


def _frame(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(canvas.GRID)


def _draw_legend(axes: Axes) -> None:
    axes.axis("off")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    for number, color in enumerate(CLASS_COLORS):
        axes.scatter([0.008 + 0.014 * number], [0.5], s=16, c=color, linewidths=0)
    axes.text(0.05, 0.5, "unlabeled, by true class", va="center_baseline")
    axes.scatter([0.32], [0.5], s=22, c=canvas.INK, marker="x", linewidths=1.1)
    axes.text(0.337, 0.5, "labeled", va="center_baseline")
    axes.scatter([0.46], [0.5], s=24, c=CHOSEN, edgecolors=canvas.INK, linewidths=0.7)
    axes.text(0.477, 0.5, "chosen", va="center_baseline")
