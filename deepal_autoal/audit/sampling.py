"""Which samples are audited: a prefix of a random order of the pool that no strategy can influence.

The order is drawn before anything is labeled. Its first part is the initial labeled set, and with every batch the
prefix grows by a fixed share of the batch, whatever the strategy chose. Samples that the strategy had already labeled
when the prefix reached them belong to it without new labels. So the length of the prefix depends on the number of
labels alone, and the audit set is a uniform sample of the pool. (Growing the prefix until a number of *unlabeled*
samples has been met would not give one: where it ends would depend on what the strategy chose.)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.numerics.random_streams import numpy_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray


def audit_order(pool_size: int, seed: int, initial: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a random order of the pool's positions, int64 (pool_size,).

    Args:
        pool_size: Number of samples in the pool.
        seed: Seed of the draw.
        initial: Positions of the initial labeled set, (M,), with which the order begins. If they were drawn uniformly,
            the whole order is uniform; otherwise none may be given.
    """
    first = np.sort(initial)
    rest = np.setdiff1d(np.arange(pool_size, dtype=np.int64), first, assume_unique=True)
    rng = numpy_stream(pool_size, seed, len(first), "audit")
    return np.concatenate([rng.permutation(first), rng.permutation(rest)])


def prefix_length(pool_size: int, initial: int, asked: int, share: float) -> int:
    """Return the number of samples in the audit set.

    Args:
        pool_size: Number of samples in the pool.
        initial: Size of the initial labeled set.
        asked: Number of labels asked for after it.
        share: Part of them by which the set grows.
    """
    return min(pool_size, initial + math.floor(share * asked + 0.5))
