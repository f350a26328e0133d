"""Places labels so that they do not overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions that are at least a gap apart and as close as possible to the wanted ones.

    This minimizes squared distances in the order of the wanted positions. After subtracting the gaps that is isotonic
    regression, whose bounded solution is the unbounded one, clipped.

    Args:
        wanted: Positions in any order; ties keep the order given.
        gap: The smallest distance between two.
        low: The lowest position allowed.
        high: The highest position allowed; moved up if there is not enough room.
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
