"""Draws labels to the right of a plot, each joined to its point by a line in its strategy's color."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from deepal_autoal.report.figures.canvas import FONT_SIZE, INK, LABEL_WIDTH, mark, shorten, text_width
from deepal_autoal.report.figures.label_layout import spread
from deepal_autoal.report.style import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_HEIGHT = 11.0
LEADER = 22.0


def label_width(labels: Sequence[str], styles: Mapping[str, Style]) -> float:
    """Return the width that labels and their leader lines take to the right of a plot, in points."""
    longest = 0.0
    for label in labels:
        bold = styles[label].is_highlighted
        longest = max(longest, text_width(shorten(label, LABEL_WIDTH, bold=bold), FONT_SIZE, bold))
    return LEADER + 8 + longest


def draw_end_labels(
    axes: Axes,
    ends: Mapping[str, tuple[float, float]],
    styles: Mapping[str, Style],
    tips: Mapping[str, str],
    leader_dash: tuple[float, ...] = (),
) -> None:
    """Draw labels for given points to the right of the axes, whose limits must be final.

    Args:
        axes: The axes with the points.
        ends: A point in data coordinates by strategy label.
        styles: Styles of the strategies.
        tips: The tooltip of each label.
        leader_dash: Dashes of the leader lines, as `Style.dash`; lines that cross the plot should not look like data.
    """
    width, height = axes.bbox.width, axes.bbox.height  # in points, as figures have 72 dots an inch
    points = axes.transAxes.inverted().transform(axes.transData.transform([ends[label] for label in ends]))
    # For points of equal height, labels are in alphabetical order from the top.
    names = sorted(ends, reverse=True)
    at = {label: (float(x), float(y)) for label, (x, y) in zip(ends, points, strict=True)}
    places = spread([at[label][1] * height for label in names], LINE_HEIGHT, 0.0, height)
    for label, place in zip(names, places, strict=True):
        style = styles[label]
        x, y = at[label]
        to_x = 1 + LEADER / width
        (leader,) = axes.plot(
            [x, to_x], [y, place / height], transform=axes.transAxes, clip_on=False, color=style.color, linewidth=0.7,
            linestyle=(0, leader_dash) if leader_dash else "-", alpha=0.8, marker=style.marker, markevery=[1],
            markersize=5, zorder=1.5,
        )  # fmt: skip
        mark(leader, label, "leader", styles)
        text = axes.text(
            to_x + 6 / width, place / height, shorten(label, LABEL_WIDTH, bold=style.is_highlighted),
            transform=axes.transAxes, va="center_baseline", fontsize=FONT_SIZE, color=INK,
            fontweight="bold" if style.is_highlighted else "normal",
        )  # fmt: skip
        mark(text, label, "label", styles, tips[label])
