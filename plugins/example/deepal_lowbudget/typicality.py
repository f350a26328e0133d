"""Typicality: how close a sample's nearest neighbors are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal import BlockSize

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

# Numbers in a block of distances: limits the memory, and should fit a processor's cache.
_DISTANCES = BlockSize(1 << 18)


def mean_neighbor_distances(rows: NDArray[Any], n_neighbors: int) -> NDArray[np.float64]:
    """Return each row's mean Euclidean distance to its nearest other rows: the inverse of its typicality.

    Small is typical. The inverse is not taken, as it would be infinite where samples coincide. Neighbors are found by
    inner products, block by block; their distances are then computed from differences, so those of coinciding rows
    are exactly 0 and equal neighborhoods tie.

    Args:
        rows: Shape (n, D), finite, at least one row.
        n_neighbors: Number of neighbors, at least 1; in small sets at most half of the rows, as in the authors' code.

    Returns:
        Shape (n,); 0 for a single row.
    """
    count = min(n_neighbors, max(1, len(rows) // 2), len(rows) - 1)
    means = np.zeros(len(rows))
    if not count:
        return means
    # In single precision the differences of products could not distinguish close neighbors.
    precise = rows.astype(np.float64)
    squares = np.square(precise).sum(axis=1)
    for block in _DISTANCES.blocks(len(rows), len(rows)):
        part = precise[block]
        # The squared distances without each row's own square, which is the same for all its neighbors.
        closeness = part @ precise.T
        closeness *= -2.0
        closeness += squares
        own = np.arange(len(part))
        closeness[own, block.start + own] = np.inf
        nearest = np.argpartition(closeness, count - 1, axis=1)[:, :count]
        distances = np.stack([np.linalg.norm(part - precise[column], axis=1) for column in nearest.T], axis=1)
        # argpartition returns them in any order, which affects a sum's last bit; ties should remain ties.
        means[block] = np.sort(distances, axis=1).mean(axis=1)
    return means
