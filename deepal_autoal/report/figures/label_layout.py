"""Places labels so that they do not overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


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
    if not len(wanted):
        return []
    order = np.argsort(wanted, kind="stable")
    offsets = gap * np.arange(len(wanted))
    high = max(high - offsets[-1], low)
    placed = np.clip(_isotonic(np.asarray(wanted, dtype=float)[order] - offsets), low, high) + offsets
    places = np.empty(len(wanted))
    places[order] = placed
    return [float(place) for place in places]


def _isotonic(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the closest ascending values in least squares, by pooling adjacent violators.

    scikit-learn has this function, but importing it takes longer than most reports.
    """
    sums: list[float] = []
    counts: list[int] = []
    for value in values.tolist():
        sums.append(value)
        counts.append(1)
        while len(sums) > 1 and sums[-2] / counts[-2] > sums[-1] / counts[-1]:
            sums[-2:], counts[-2:] = [sums[-2] + sums[-1]], [counts[-2] + counts[-1]]
    return np.repeat(np.divide(sums, counts), counts)
