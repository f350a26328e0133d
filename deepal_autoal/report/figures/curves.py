"""Draws means over seeds by round with their intervals, as lines with labels at their ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepal_autoal.report.figures.canvas import GRID, mark
from deepal_autoal.report.figures.end_labels import draw_end_labels
from deepal_autoal.report.style import NEUTRAL, Style
from deepal_autoal.statistics import Estimate, estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Enough markers to distinguish a line without hiding it; fewer if there are many lines.
N_MARKERS, N_MARKERS_OF_MANY, MANY = 6, 4, 10


@dataclass(frozen=True)
class Curve:
    """Estimates over seeds at ascending positions.

    Attributes:
        x: The positions.
        estimates: One at each position.
    """

    x: tuple[float, ...]
    estimates: tuple[Estimate, ...]


def common_curve(by_seed: Sequence[Mapping[int, float]]) -> Curve:
    """Return the curve over the positions that all seeds have; over all positions if they have none in common.

    A mean over fewer seeds beyond would jump where a seed ends.

    Args:
        by_seed: Values by position, for each seed.
    """
    places = set.intersection(*(set(values) for values in by_seed)) or {x for values in by_seed for x in values}
    x = sorted(places)
    return Curve(tuple(x), tuple(estimate([values[at] for values in by_seed if at in values]) for at in x))


def draw_curves(axes: Axes, curves: Mapping[str, Curve], styles: Mapping[str, Style], tips: Mapping[str, str]) -> None:
    """Draw lines, bands where there are at least two seeds, and labels.

    The axes' size must be final; limits are set here to include all bands.

    Args:
        axes: Empty axes.
        curves: Curves by strategy label.
        styles: Styles of the strategies.
        tips: The tooltip of each strategy's marks.
    """
    axes.grid(True, color=GRID, linewidth=0.6)
    band_alpha = 0.18 if len(curves) <= 5 else 0.10 if len(curves) <= MANY else 0.06
    n_markers = N_MARKERS if len(curves) <= MANY else N_MARKERS_OF_MANY
    for label, curve in curves.items():
        style = styles[label]
        strength = 3.0 if style.is_highlighted else 2.5 if style.color == NEUTRAL else 2.0
        if any(found.n_seeds > 1 for found in curve.estimates):
            low = [found.low for found in curve.estimates]
            high = [found.high for found in curve.estimates]
            (band,) = axes.fill(
                [*curve.x, *curve.x[::-1]], [*low, *high[::-1]], facecolor=style.color, edgecolor="none",
                alpha=band_alpha * (2 if style.is_highlighted else 1), zorder=strength - 1, clip_on=False,
            )  # fmt: skip
            mark(band, label, "band", styles)
        (line,) = axes.plot(
            curve.x, [found.mean for found in curve.estimates], color=style.color,
            linestyle=(0, style.dash) if style.dash else "-", linewidth=2.2 if style.is_highlighted else 1.2,
            marker=style.marker, markersize=4.2, zorder=strength, dash_capstyle="butt", solid_capstyle="round",
            markevery=max(1, -(-len(curve.x) // n_markers)), clip_on=False,
        )  # fmt: skip
        mark(line, label, "line", styles, tips[label])
    _set_limits(axes, curves)
    ends = {label: (curve.x[-1], curve.estimates[-1].mean) for label, curve in curves.items()}
    draw_end_labels(axes, ends, styles, tips)


def _set_limits(axes: Axes, curves: Mapping[str, Curve]) -> None:
    x = [at for curve in curves.values() for at in curve.x]
    low = min(found.low for curve in curves.values() for found in curve.estimates)
    high = max(found.high for curve in curves.values() for found in curve.estimates)
    room = 0.03 * (high - low) or 0.01
    aside = 0.015 * (max(x) - min(x)) or 0.5
    axes.set_xlim(min(x) - aside, max(x) + aside)
    axes.set_ylim(low - room, high + room)
