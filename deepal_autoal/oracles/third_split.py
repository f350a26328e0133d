"""The third split: rows of the training split outside the pool, on which an oracle scores batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.errors import InputError
from deepal_autoal.numerics.random_streams import numpy_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_SCORED = 5_000
# What is left out of the pool if no pool size is given: a fifth, up to so many.
MOST_HELD_OUT = 2_000


def default_pool_size(n_samples: int, n_copies: int = 1) -> int:
    """Return the size of the pool, for all strategies, where an oracle takes part and no size is given.

    A fifth of the distinct samples is left out, with all copies.
    """
    distinct = n_samples // n_copies
    return n_copies * (distinct - min(MOST_HELD_OUT, distinct // 5))


def n_scored(n_samples: int, pool_size: int, n_copies: int = 1) -> int:
    """Return how many distinct samples score: those with no copy in the pool, 5,000 at most.

    Args:
        n_samples: Number of samples that the pool is drawn from, copies included.
        pool_size: Likewise of the pool.
        n_copies: Of each distinct sample.
    """
    return min(MOST_SCORED, n_samples // n_copies - -(-pool_size // n_copies))


def check_third_split(n_samples: int, pool_size: int, n_copies: int = 1) -> None:
    """Refuse a pool that leaves nothing to score on.

    Raises:
        InputError: If it does; says how large the pool may be.
    """
    if n_scored(n_samples, pool_size, n_copies) < 1:
        raise InputError(
            f"--pool-size {pool_size}: an oracle scores batches on training samples outside the pool, and of "
            f"{n_samples} none is left; give at most {default_pool_size(n_samples, n_copies)}, or leave it out"
        )


def draw_third_split(
    in_play: NDArray[np.int64], members: NDArray[np.int64], n_original: int, seed: int
) -> NDArray[np.int64]:
    """Return rows of the training split that are not in the pool, int64, ascending: all of them, 5,000 at most.

    With duplicates, a sample is left out if any copy of it is in the pool, and otherwise is there once.

    Args:
        in_play: The rows that the pool was drawn from.
        members: The pool.
        n_original: Number of distinct rows; row i + k·n_original is a copy of row i.
        seed: The run's seed.

    Raises:
        InputError: If there is none.
    """
    rest = np.setdiff1d(in_play % n_original, members % n_original)
    if not len(rest):
        raise InputError("an oracle scores batches on training samples outside the pool, and none is left: give a "
                         f"smaller --pool-size than {len(members)}")  # fmt: skip
    if len(rest) > MOST_SCORED:
        stream = numpy_stream(seed, "third split", len(rest))
        rest = np.sort(stream.choice(rest, MOST_SCORED, replace=False))
    return rest.astype(np.int64)
