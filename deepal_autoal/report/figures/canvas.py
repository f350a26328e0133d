"""Helpers for all figures: settings independent of the user's matplotlibrc, sizes in points, text that fits, ids."""

from __future__ import annotations

import contextlib
import functools
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from deepal_autoal.errors import printable_line
from deepal_autoal.report.style import Style

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#222222"
MUTED = "#595959"
GRID = "#E4E4E4"
POINTS_PER_INCH = 72.0
WIDTH = 560.0
FONT_SIZE = 8.5
SMALL = 7.5
LABEL_WIDTH = 132.0
MARGIN = 10.0

_SETTINGS: dict[str, Any] = {
    "font.size": FONT_SIZE, "axes.titlesize": FONT_SIZE, "axes.labelsize": FONT_SIZE,
    "xtick.labelsize": SMALL, "ytick.labelsize": SMALL,
    # Labels are arbitrary text: a dollar sign does not start a formula.
    "text.parse_math": False,
    "text.color": INK, "axes.labelcolor": INK, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.edgecolor": "#888888", "xtick.color": "#888888", "ytick.color": "#888888",
    "axes.linewidth": 0.7, "xtick.major.width": 0.7, "ytick.major.width": 0.7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "lines.linewidth": 1.3, "lines.markeredgewidth": 0.0, "lines.scale_dashes": True,
    # Draw every point of the data.
    "path.simplify": False, "axes.unicode_minus": True,
    # Text widths match a browser's at any resolution.
    "text.hinting": "no_hinting",
    "svg.fonttype": "none", "image.composite_image": False,
}  # fmt: skip


@contextlib.contextmanager
def drawing(**more: Any) -> Iterator[None]:
    """Draw with matplotlib's defaults and these settings, whatever the user's are; also works as a decorator.

    Args:
        more: Further settings.
    """
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        # Labels may be in any script; in SVG the browser chooses the font.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
        mpl.rcdefaults()
        settings: Any = {**_SETTINGS, **more}
        mpl.rcParams.update(settings)
        yield


def new_figure(height: float, figure_id: str, title: str, note: str, width: float = WIDTH) -> Figure:
    """Return an empty figure with a title and a smaller note below it.

    Args:
        height: Height of the space below title and note, in points.
        figure_id: Its id, and the prefix of all ids in it.
        title: The title, in one line.
        note: What else a reader must know; wrapped to the figure's width.
        width: Width of the figure, in points.
    """
    from matplotlib.figure import Figure

    lines = textwrap.wrap(printable_line(note), width=int((width - 2 * MARGIN) / (0.54 * SMALL)))
    head = MARGIN + 15 + 10.5 * len(lines) + 8
    total = height + head
    figure = Figure(figsize=(width / POINTS_PER_INCH, total / POINTS_PER_INCH), dpi=POINTS_PER_INCH)
    figure.set_gid(figure_id)
    baseline = total - MARGIN - 9
    title = shorten(title, width - 2 * MARGIN, 10.5, bold=True)
    figure.text(MARGIN / width, baseline / total, title, fontsize=10.5, fontweight="bold")
    for number, line in enumerate(lines, 1):
        y = (baseline - 2.5 - 10.5 * number) / total
        figure.text(MARGIN / width, y, line, fontsize=SMALL, color=MUTED)
    return figure


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Return axes at a position in points from the figure's lower left corner."""
    full_width, full_height = size(figure)
    return figure.add_axes((left / full_width, bottom / full_height, width / full_width, height / full_height))


def name_vertical_axis(axes: Axes, text: str) -> None:
    """Write the vertical axis's name above it, where wide tick labels are not in the way."""
    axes.annotate(
        text, (0, 1), (-30, 7), xycoords="axes fraction", textcoords="offset points", fontsize=FONT_SIZE, color=INK,
        annotation_clip=False,
    )  # fmt: skip


def size(figure: Figure) -> tuple[float, float]:
    """Return a figure's width and height in points."""
    width, height = figure.get_size_inches()
    return float(width) * POINTS_PER_INCH, float(height) * POINTS_PER_INCH


def mark(artist: Artist, label: str, part: str, styles: Mapping[str, Style], tip: str | None = None) -> None:
    """Give a strategy's mark its id and its tooltip.

    Args:
        artist: The mark, already in its figure.
        label: The strategy's label.
        part: The mark's name; different for each mark of the strategy in the figure.
        styles: Styles of all strategies.
        tip: The tooltip in SVG; without one the pointer passes through to what is below the mark.
    """
    figure = artist.get_figure()
    assert figure is not None
    artist.set_gid(f"{figure.get_gid()}--{styles[label].key}--{part}")
    artist.set_label(printable_line(tip or ""))


# The labels of strategies are measured again in every figure.
@functools.lru_cache(maxsize=2**14)
def text_width(text: str, font_size: float, bold: bool = False) -> float:
    """Return a line's width in points in matplotlib's own font, which is wider than most."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(size=font_size, weight="bold" if bold else "normal")
    return float(TextToPath().get_text_width_height_descent(text, font, False)[0])


def shorten(text: str, width: float, font_size: float = FONT_SIZE, bold: bool = False) -> str:
    """Return a line that fits a width in points, with its middle left out if necessary."""
    text = printable_line(text)
    if text_width(text, font_size, bold) <= width:
        return text
    for kept in range(min(len(text), 200) - 1, 1, -1):
        short = text[: kept - kept // 2].rstrip() + "\N{HORIZONTAL ELLIPSIS}" + text[len(text) - kept // 2 :].lstrip()
        if text_width(short, font_size, bold) <= width:
            return short
    return "\N{HORIZONTAL ELLIPSIS}"
