"""Where labels go that must not overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places that lie at least a gap apart, nearest to where they are wanted.

    Least squares under the order of the wanted places: with the gaps taken out that is isotonic regression, whose
    bounded solution is the unbounded one, clipped.

    Args:
        wanted: Places in any order; ties keep the order given.
        gap: The smallest distance between two.
        low: The lowest place allowed.
        high: The highest place allowed; moved up where there is not enough room.
    """
    from sklearn.isotonic import isotonic_regression

    if not len(wanted):
        return []
    order = np.argsort(wanted, kind="stable")
    offsets = gap * np.arange(len(wanted))
    high = max(high - offsets[-1], low)
    placed = isotonic_regression(np.asarray(wanted, dtype=float)[order] - offsets, y_min=low, y_max=high) + offsets
    places = np.empty(len(wanted))
    places[order] = placed
    return [float(place) for place in places]
