"""Draws who beats whom: BADGE's pairwise penalty matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deepal_autoal.report.figures import canvas
from deepal_autoal.report.style import Style, figure_id
from deepal_autoal.statistics import PenaltyMatrix
from deepal_autoal.statistics.paired import MIN_SEEDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL = 18.0
# White to Tol's indigo: a dark cell means beaten often. Text is white where that is easier to read.
_LIGHT, _DARK = (1.0, 1.0, 1.0), (0x33 / 255, 0x22 / 255, 0x88 / 255)


@canvas.drawing()
def penalty_heat_map(
    matrix: PenaltyMatrix, styles: Mapping[str, Style], *, dataset: str = "", id_prefix: str | None = None
) -> Figure:
    """Draw the matrix, least beaten strategies first, with each column's sum and mean below it.

    A cell says how often the strategy of its row beats that of its column; an empty cell means never, a gray one that
    the two were not compared. Its id contains the keys of both, so hiding either hides it.

    Args:
        matrix: Over one or more datasets.
        styles: Styles of its strategies.
        dataset: The dataset's label, if the matrix is of a single one.
        id_prefix: The figure's id; derived from the dataset by default.
    """
    names = [*matrix.order, *sorted(set(matrix.strategies) - set(matrix.order))]
    at = {label: place for place, label in enumerate(matrix.strategies)}
    short = {label: canvas.shorten(label, 104, canvas.SMALL, styles[label].is_highlighted) for label in names}
    side = max(canvas.text_width(name, canvas.SMALL, styles[row].is_highlighted) for row, name in short.items())
    n_most = max((n for row in matrix.n_datasets for n in row), default=0)
    cell = max(CELL, min(30.0, (canvas.WIDTH - side - 60) / len(names)))
    left = canvas.MARGIN + max(side, 40) + 8
    figure = canvas.new_figure(
        cell * len(names) + side + 18 + 2 * ROW_OF_SUMS + 16, id_prefix or figure_id("penalties", dataset),
        f"{dataset}: who beats whom" if dataset else "Who beats whom, over all datasets", _note(n_most),
        width=max(canvas.WIDTH, left + cell * len(names) + canvas.MARGIN),
    )  # fmt: skip
    bottom = 2 * ROW_OF_SUMS + 12
    axes = canvas.add_axes(figure, left, bottom, cell * len(names), cell * len(names))
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color("#BBBBBB")
    for line in range(1, len(names)):
        axes.axhline(line - 0.5, color=canvas.GRID, linewidth=0.5, zorder=1)
        axes.axvline(line - 0.5, color=canvas.GRID, linewidth=0.5, zorder=1)
    highest = max(max(row) for row in matrix.values) or 1.0
    for y, row in enumerate(names):
        for x, column in enumerate(names):
            value, n_datasets = matrix.values[at[row]][at[column]], matrix.n_datasets[at[row]][at[column]]
            if not n_datasets:
                _draw_not_compared(axes, x, y, is_own=row == column)
            elif value > 0:
                _draw_cell(axes, x, y, value / highest, value, row, column, styles, n_datasets)
    _draw_names(axes, names, short, styles, cell)
    _draw_sums(axes, matrix, names, styles, cell)
    return figure


ROW_OF_SUMS = 14.0


def _note(n_most: int) -> str:
    if not n_most:
        return f"No two strategies have {MIN_SEEDS} seeds in common: nothing can be compared."
    over = "on one dataset" if n_most == 1 else f"summed over up to {n_most} datasets"
    return (
        "Each cell: share of checkpoints at which the row's strategy is significantly better than the column's "
        f"(paired t-test at 5%), {over}. Empty: never. Read down a column: how often that strategy is beaten; lower "
        "is better, and the best are first. Not corrected for the number of tests: about one checkpoint in forty is "
        "lost by chance alone."
    )


def _draw_not_compared(axes: Axes, x: int, y: int, is_own: bool) -> None:
    axes.fill(*_corners(x, y), facecolor="#DDDDDD" if is_own else "#F0F0F0", edgecolor="none", zorder=0.5)
    if not is_own:
        axes.text(x, y, "\N{EN DASH}", ha="center", va="center", color=canvas.MUTED, fontsize=canvas.SMALL)


def _draw_cell(
    axes: Axes, x: int, y: int, depth: float, value: float, row: str, column: str, styles: Mapping[str, Style], n: int
) -> None:
    color = tuple(light + (dark - light) * (0.08 + 0.92 * depth) for light, dark in zip(_LIGHT, _DARK, strict=True))
    tip = f"{row} beats {column}: {value:.3f} of {n}"
    (patch,) = axes.fill(*_corners(x, y), facecolor=color, edgecolor="none", zorder=0.5)
    canvas.mark(patch, row, f"beats--{styles[column].key}--cell", styles, tip)
    text = axes.text(
        x, y, f"{value:.2f}" if value < 9.995 else f"{value:.1f}", ha="center", va="center_baseline", fontsize=6.3,
        color="white" if depth > 0.5 else canvas.INK,
    )  # fmt: skip
    canvas.mark(text, row, f"beats--{styles[column].key}--value", styles)


def _corners(x: int, y: int) -> tuple[list[float], list[float]]:
    return [x - 0.5, x + 0.5, x + 0.5, x - 0.5], [y - 0.5, y - 0.5, y + 0.5, y + 0.5]


def _draw_names(
    axes: Axes, names: list[str], short: Mapping[str, str], styles: Mapping[str, Style], cell: float
) -> None:
    for place, label in enumerate(names):
        weight = "bold" if styles[label].is_highlighted else "normal"
        row = axes.text(
            -0.5 - 5 / cell,
            place,
            short[label],
            ha="right",
            va="center_baseline",
            fontsize=canvas.SMALL,
            fontweight=weight,
        )
        canvas.mark(row, label, "row-label", styles, label)
        column = axes.text(
            place, -0.5 - 4 / cell, short[label], rotation=90, rotation_mode="anchor", ha="left", va="center_baseline",
            fontsize=canvas.SMALL, fontweight=weight,
        )  # fmt: skip
        canvas.mark(column, label, "column-label", styles, label)


def _draw_sums(axes: Axes, matrix: PenaltyMatrix, names: list[str], styles: Mapping[str, Style], cell: float) -> None:
    means = dict(zip(matrix.strategies, matrix.column_means, strict=True))
    for number, (word, part) in enumerate((("sum", "column-sum"), ("mean", "column-mean"))):
        y = len(names) - 0.5 + (number + 0.6) * ROW_OF_SUMS / cell
        axes.text(-0.5 - 5 / cell, y, word, ha="right", va="center_baseline", fontsize=canvas.SMALL, color=canvas.MUTED)
        for place, label in enumerate(names):
            mean = means[label]
            if mean is None:
                continue
            value = mean if part == "column-mean" else sum(
                row[matrix.strategies.index(label)] for row in matrix.values
            )  # fmt: skip
            text = axes.text(
                place, y, f"{value:.2f}" if value < 9.995 else f"{value:.1f}", ha="center", va="center_baseline",
                fontsize=6.3,
            )  # fmt: skip
            canvas.mark(text, label, part, styles, f"{label} is beaten: {word} {value:.3f}")
