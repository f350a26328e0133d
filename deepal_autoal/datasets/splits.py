"""The held-out test split for data that come without one."""

from __future__ import annotations

import numpy as np

from deepal_autoal.errors import InputError
from deepal_autoal.numerics.random_streams import numpy_stream

HELD_OUT_NOTE = "20 % held out by a fixed stream"


def held_out_split(n_samples: int, source: str = "the dataset") -> tuple[np.ndarray, np.ndarray]:
    """Split rows 0..n-1 into training and test rows, both int64 and ascending.

    A fifth (rounded down, at least one row) is held out at random. The split depends on ``n_samples`` alone: not on a
    run's seed, so all runs share one test set; not on labels or contents, so nothing leaks through it.

    Raises:
        InputError: If there are fewer than two samples; the message begins with ``source``.
    """
    if n_samples < 2:
        raise InputError(f"{source} has too few samples for a training and a test split ({n_samples}); give more")
    order = numpy_stream("held-out test split").permutation(n_samples).astype(np.int64)
    n_test = max(1, n_samples // 5)
    return np.sort(order[n_test:]), np.sort(order[:n_test])
