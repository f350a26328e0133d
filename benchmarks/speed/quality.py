"""Measures the quality of any batch by the quantity that its rule minimizes; lower is better."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from problem import Outputs

    Picks = NDArray[np.int64]

_CHUNK = 2048


def potential(data: Outputs, picks: Picks) -> float:
    """Return the k-means++ potential: the sum of squared distances of gradient embeddings to the nearest chosen one."""
    left, right = (factor.double() for factor in data.factors)
    squares = left.square().sum(dim=1) * right.square().sum(dim=1)
    total = 0.0
    for rows in torch.arange(len(left)).split(_CHUNK):
        products = (left[rows] @ left[picks].T) * (right[rows] @ right[picks].T)
        total += float((squares[rows, None] + squares[picks] - 2.0 * products).clamp(min=0.0).amin(dim=1).sum())
    return total


def cover_radius(data: Outputs, picks: Picks) -> float:
    """Return the largest distance of a candidate's embedding to the nearest labeled or chosen one."""
    rows = torch.from_numpy(data.embeddings).double()
    centers = torch.cat([rows[picks], torch.from_numpy(data.labeled_embeddings).double()])
    return max(float(torch.cdist(part, centers).amin(dim=1).max()) for part in rows.split(_CHUNK))


def inertia(data: Outputs, picks: Picks) -> float:
    """Return the inertia of the clusters around the batch.

    Each candidate joins the cluster of the nearest sample in the batch; its distance is to the mean of that cluster.
    """
    rows = torch.from_numpy(data.embeddings).double()
    nearest = torch.cat([torch.cdist(part, rows[picks]).argmin(dim=1) for part in rows.split(_CHUNK)])
    sums = torch.zeros(len(picks), rows.shape[1], dtype=rows.dtype).index_add_(0, nearest, rows)
    counts = nearest.bincount(minlength=len(picks)).clamp(min=1)
    return float(rows.square().sum() - (sums.square().sum(dim=1) / counts).sum())


QUALITIES: dict[str, tuple[str, Callable[[Outputs, Picks], float]]] = {
    "badge": ("k-means++ potential", potential),
    "coreset": ("cover radius", cover_radius),
    "kmeans": ("inertia", inertia),
}
