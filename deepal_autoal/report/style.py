"""How each strategy looks, in every figure and legend of a report, and the key by which a page finds its marks."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deepal_autoal.statistics.savings import BASELINE

# Okabe and Ito's vermillion and reddish purple, Tol's indigo, green and wine (muted) and blue (vibrant), and black:
# the seven of their palettes that stay furthest apart for all kinds of color vision, among those with a contrast of
# at least 3:1 on white.
COLORS = ("#0077BB", "#D55E00", "#117733", "#CC79A7", "#332288", "#000000", "#882255")
NEUTRAL = "#767676"
# Lengths drawn and left out in turn, in units of the line's width.
DASHES: tuple[tuple[float, ...], ...] = ((), (5.0, 1.6), (1.3, 1.3), (7.0, 1.5, 1.3, 1.5))
NEUTRAL_DASH = (3.0, 2.2)
# Corners of each marker, x to the right and y down, in a square of ±1; the circle has none.
MARKERS: dict[str, tuple[tuple[float, float], ...]] = {
    "o": (),
    "s": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "^": ((0, -1), (1, 1), (-1, 1)),
    "D": ((0, -1), (1, 0), (0, 1), (-1, 0)),
    "v": ((0, 1), (1, -1), (-1, -1)),
    "P": ((-0.4, -1), (0.4, -1), (0.4, -0.4), (1, -0.4), (1, 0.4), (0.4, 0.4),
          (0.4, 1), (-0.4, 1), (-0.4, 0.4), (-1, 0.4), (-1, -0.4), (-0.4, -0.4)),
    "<": ((-1, 0), (1, -1), (1, 1)),
    "X": ((-0.5, -1), (0, -0.5), (0.5, -1), (1, -0.5), (0.5, 0), (1, 0.5),
          (0.5, 1), (0, 0.5), (-0.5, 1), (-1, 0.5), (-0.5, 0), (-1, -0.5)),
    ">": ((1, 0), (-1, -1), (-1, 1)),
}  # fmt: skip
NEUTRAL_MARKER = "o"


@dataclass(frozen=True)
class Style:
    """How a strategy is drawn.

    Attributes:
        color: ``#RRGGBB``.
        dash: Lengths drawn and left out in turn, in units of the line's width; empty is solid.
        marker: A key of `MARKERS`, which are matplotlib's names too.
        key: What the ids of its marks contain between two double hyphens: lower-case letters, digits and single
            hyphens, different for each strategy.
        is_highlighted: Whether it is drawn stronger than the others.
    """

    color: str
    dash: tuple[float, ...]
    marker: str
    key: str
    is_highlighted: bool = False


def assign_styles(labels: Iterable[str], highlighted: Iterable[str] = ()) -> dict[str, Style]:
    """Return each label's style, sorted by label; the same labels have the same styles, in whatever order they come.

    Of up to 252 strategies no two look the same. The baseline, ``random``, is a neutral gray, dashed, which no other
    strategy is, and takes no style from the others.

    Args:
        labels: Of all strategies of a report, over all its datasets, and of selectors' candidates if these are drawn.
        highlighted: Labels to draw stronger.
    """
    strong = set(highlighted)
    styles = {}
    place = 0
    for number, label in enumerate(sorted(set(labels))):
        key = f"{slug(label)}-{number}"
        if label == BASELINE:
            styles[label] = Style(NEUTRAL, NEUTRAL_DASH, NEUTRAL_MARKER, key, label in strong)
            continue
        dash = DASHES[place // len(COLORS) % len(DASHES)]
        marker = list(MARKERS)[place % len(MARKERS)]
        styles[label] = Style(COLORS[place % len(COLORS)], dash, marker, key, label in strong)
        place += 1
    return styles


def strategy_key(label: str, styles: Mapping[str, Style]) -> str:
    """Return what ids of a strategy's marks contain: ``[id*="--KEY--"]`` selects them all on a page."""
    return styles[label].key


def slug(text: str) -> str:
    """Return lower-case letters, digits and single hyphens for use in ids; at most 40, never empty."""
    return re.sub("[^a-z0-9]+", "-", text.lower())[:40].strip("-") or "x"


def figure_id(kind: str, text: str = "") -> str:
    """Return an id for a figure of a kind about a dataset or the like, different for different texts.

    Where the slug says less than the text, a checksum of that follows.
    """
    if not text:
        return kind
    short = slug(text)
    return f"{kind}-{short}" if short == text else f"{kind}-{short}-{zlib.crc32(text.encode('utf-8', 'replace')):08x}"


def swatch(style: Style) -> str:
    """Return a piece of a strategy's line with its marker, as an inline SVG of 34 by 12 for a legend in HTML."""
    width = 2.6 if style.is_highlighted else 1.8
    dash = f' stroke-dasharray="{" ".join(f"{part * width:g}" for part in style.dash)}"' if style.dash else ""
    corners = MARKERS[style.marker]
    if corners:
        points = " ".join(f"{17 + 3.8 * x:g},{6 + 3.8 * y:g}" for x, y in corners)
        marker = f'<polygon points="{points}" fill="{style.color}"/>'
    else:
        marker = f'<circle cx="17" cy="6" r="3.6" fill="{style.color}"/>'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="34" height="12" viewBox="0 0 34 12" aria-hidden="true">'
        f'<line x1="0" y1="6" x2="34" y2="6" stroke="{style.color}" stroke-width="{width:g}"{dash}/>{marker}</svg>'
    )
