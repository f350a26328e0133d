"""Assigns each strategy its style in all figures and legends, and the key by which a page finds its marks."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from deepal_autoal.plugins.registry import is_oracle
from deepal_autoal.statistics.savings import BASELINE

# Okabe and Ito's vermillion and reddish purple, Tol's indigo, green and wine (muted) and blue (vibrant), and black:
# of their colors with a contrast of at least 3:1 on white, the seven that differ most for all kinds of color vision.
COLORS = ("#0077BB", "#D55E00", "#117733", "#CC79A7", "#332288", "#000000", "#882255")
NEUTRAL = "#767676"
# Alternating lengths of dashes and gaps, in units of the line's width.
DASHES: tuple[tuple[float, ...], ...] = ((), (5.0, 1.6), (1.3, 1.3), (7.0, 1.5, 1.3, 1.5))
NEUTRAL_DASH = (3.0, 2.2)
# Corners of each marker, x to the right and y down, in a square of ±1; empty for the circle.
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
        dash: Alternating lengths of dashes and gaps, in units of the line's width; empty is solid.
        marker: A key of `MARKERS`, also matplotlib's name for it.
        key: The part of its marks' ids between two double hyphens: lower-case letters, digits and single hyphens,
            unique to each strategy.
        is_highlighted: Whether it is drawn more strongly than the others.
    """

    color: str
    dash: tuple[float, ...]
    marker: str
    key: str
    is_highlighted: bool = False


def assign_styles(labels: Iterable[str], highlighted: Iterable[str] = ()) -> dict[str, Style]:
    """Return each label's style, sorted by label; the same labels get the same styles in any order.

    Up to 252 strategies all look different. The baseline, ``random``, is dashed in a neutral gray that no other
    strategy has, and does not use up a style. Nor do oracles, which are in the same gray with other dashes.

    Args:
        labels: Labels of all strategies of a report, over all its datasets, and of selectors' candidates if drawn.
        highlighted: Labels to draw more strongly.
    """
    strong = set(highlighted)
    styles = {}
    place = n_oracles = 0
    for number, label in enumerate(sorted(set(labels))):
        key = f"{slug(label)}-{number}"
        if label == BASELINE:
            styles[label] = Style(NEUTRAL, NEUTRAL_DASH, NEUTRAL_MARKER, key, label in strong)
            continue
        if is_oracle(label):
            marker = list(MARKERS)[1 + n_oracles % (len(MARKERS) - 1)]
            styles[label] = Style(NEUTRAL, DASHES[n_oracles % len(DASHES)], marker, key, label in strong)
            n_oracles += 1
            continue
        dash = DASHES[place // len(COLORS) % len(DASHES)]
        marker = list(MARKERS)[place % len(MARKERS)]
        styles[label] = Style(COLORS[place % len(COLORS)], dash, marker, key, label in strong)
        place += 1
    return styles


def slug(text: str) -> str:
    """Return lower-case letters, digits and single hyphens for use in ids; at most 40, never empty."""
    return re.sub("[^a-z0-9]+", "-", text.lower())[:40].strip("-") or "x"


def figure_id(kind: str, text: str = "") -> str:
    """Return an id for a figure of some kind on, for example, a dataset; different for different texts.

    If the slug differs from the text, a checksum of the text is appended.
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
