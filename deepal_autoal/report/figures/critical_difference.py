"""Draws mean ranks over datasets, and which strategies are not significantly different."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deepal_autoal.report.figures import canvas
from deepal_autoal.report.style import Style
from deepal_autoal.report.wording import listed
from deepal_autoal.statistics import Ranking
from deepal_autoal.statistics.paired import ALPHA

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW = 13.0
BAR = 6.0


@canvas.drawing()
def critical_difference(
    ranking: Ranking, styles: Mapping[str, Style], *, id_prefix: str = "critical-difference"
) -> Figure:
    """Draw a critical-difference diagram (Demšar 2006): mean ranks on a line, bars join strategies that do not differ.

    Bars are drawn only if there are enough datasets to find any difference; otherwise the note says how many it takes,
    and that the ranks are only a description.

    Args:
        ranking: Ranks of at least two strategies.
        styles: Styles of these strategies.
        id_prefix: The figure's id.
    """
    n = len(ranking.strategies)
    n_left = -(-n // 2)
    cliques = ranking.cliques if ranking.can_tell else ()
    lanes = _lanes([_ends(clique, ranking) for clique in cliques])
    bars = BAR * (max(lanes, default=-1) + 1)
    height = 44 + bars + ROW * n_left + canvas.MARGIN
    figure = canvas.new_figure(height, id_prefix, "Mean ranks over datasets", _note(ranking))
    short = {label: canvas.shorten(label, canvas.LABEL_WIDTH) for label in ranking.strategies}
    widths = [canvas.text_width(name, canvas.FONT_SIZE, bold=True) for name in short.values()]
    side = canvas.MARGIN + max(widths[:n_left]) + 40
    width = canvas.WIDTH - side - canvas.MARGIN - max(widths[n_left:]) - 40
    # From here on everything is in points; the axis runs from the best rank to the worst.
    axes = canvas.add_axes(figure, 0, 0, canvas.WIDTH, height)
    axes.set_xlim(0, canvas.WIDTH)
    axes.set_ylim(0, height)
    axes.axis("off")
    line = height - 26
    best, worst = 1.0, float(n)

    def place(rank: float) -> float:
        return side + width * (rank - best) / (worst - best)

    axes.plot([side, side + width], [line, line], color=canvas.INK, linewidth=1, solid_capstyle="butt")
    step = 1 if n <= 12 else 2
    for tick in range(1, n + 1):
        is_named = (tick - 1) % step == 0
        axes.plot([place(tick)] * 2, [line, line + (5 if is_named else 3)], color=canvas.INK, linewidth=0.8)
        if is_named:
            axes.text(place(tick), line + 7, str(tick), ha="center", fontsize=canvas.SMALL)
    axes.text(side - 8, line + 7, "best", ha="right", fontsize=canvas.SMALL, color=canvas.MUTED)
    axes.text(side + width + 8, line + 7, "worst", fontsize=canvas.SMALL, color=canvas.MUTED)
    for clique, lane in zip(cliques, lanes, strict=True):
        low, high = _ends(clique, ranking)
        y = line - 7 - BAR * lane
        axes.plot(
            [place(low) - 2, place(high) + 2], [y, y], color="#555555", linewidth=3, solid_capstyle="butt", zorder=4
        )
    for number, (label, rank) in enumerate(zip(ranking.strategies, ranking.mean_ranks, strict=True)):
        style = styles[label]
        is_left = number < n_left
        row = number if is_left else n - 1 - number
        y = line - bars - 14 - ROW * row
        to = side - 12 if is_left else side + width + 12
        tip = f"{label}: mean rank {rank:.2f} of {n}"
        (stem,) = axes.plot(
            [place(rank), place(rank), to], [line, y, y], color=style.color,
            linewidth=1.8 if style.is_highlighted else 1, marker=style.marker, markevery=[0], markersize=5,
            zorder=3 - number / 1000, solid_joinstyle="miter",
        )  # fmt: skip
        canvas.mark(stem, label, "stem", styles, tip)
        sign = -1 if is_left else 1
        value = axes.text(
            to + sign * 3, y, f"{rank:.2f}", ha="right" if is_left else "left", va="center_baseline",
            fontsize=canvas.SMALL, color=canvas.MUTED,
        )  # fmt: skip
        canvas.mark(value, label, "rank", styles, tip)
        text = axes.text(
            to + sign * 27, y, short[label], ha="right" if is_left else "left", va="center_baseline",
            fontweight="bold" if style.is_highlighted else "normal",
        )  # fmt: skip
        canvas.mark(text, label, "label", styles, tip)
    return figure


def _ends(clique: tuple[str, ...], ranking: Ranking) -> tuple[float, float]:
    ranks = [ranking.mean_ranks[ranking.strategies.index(label)] for label in clique]
    return min(ranks), max(ranks)


def _lanes(ends: list[tuple[float, float]]) -> list[int]:
    """Return for each bar the first lane in which it does not overlap an earlier one."""
    reached: list[float] = []
    lanes = []
    for low, high in ends:
        lane = next((number for number, end in enumerate(reached) if end < low), len(reached))
        reached[lane : lane + 1] = [high]
        lanes.append(lane)
    return lanes


def _note(ranking: Ranking) -> str:
    n = len(ranking.datasets)
    note = f"By mean AUBC on {n} dataset{'s' if n > 1 else ''} ({listed(ranking.datasets)}); 1 is best. "
    friedman = ranking.friedman
    if not ranking.can_tell:
        note += (
            f"{n} dataset{'s' if n > 1 else ''} cannot show that any of {len(ranking.strategies)} strategies differ, "
            f"whatever the data are: that takes at least {ranking.n_datasets_needed}. The ranks only describe "
            f"{'these datasets' if n > 1 else 'this dataset'}."
        )
    elif friedman is not None and friedman.p >= ALPHA:
        note += f"Friedman's test finds no difference (p = {friedman.p:.2g}): the bar joins all."
    else:
        test = f"Friedman's test: p = {friedman.p:.2g}. " if friedman is not None else ""
        note += f"{test}Bars join strategies that are not significantly different (Wilcoxon's test, Holm's correction, "
        note += "5%)."
        if not ranking.cliques:
            note += " There are no bars: all pairs differ."
    if ranking.left_out:
        note += f" Left out because they are missing on some dataset: {listed(ranking.left_out)}."
    return note
