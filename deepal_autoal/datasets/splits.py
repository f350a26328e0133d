"""The held-out test split of data that come without one."""

from __future__ import annotations

import numpy as np

from deepal_autoal.errors import InputError
from deepal_autoal.randomness import numpy_stream

HELD_OUT_NOTE = "20 % held out by a fixed stream"


def held_out_split(n_samples: int, source: str = "the dataset") -> tuple[np.ndarray, np.ndarray]:
    """Split rows 0..n-1 into training and test rows, both int64 and ascending.

    A fifth (rounded down, at least one row) is held out at random. It depends on ``n_samples`` alone: not on a
    run's seed, so that all runs share one test set; not on labels or contents, so that nothing leaks through it.

    Raises:
        InputError: If there are fewer than two samples; ``source`` begins the message.
    """
    if n_samples < 2:
        raise InputError(f"{source} holds too few samples for a training and a test part ({n_samples}); give more")
    order = numpy_stream("held-out test split").permutation(n_samples).astype(np.int64)
    n_test = max(1, n_samples // 5)
    return np.sort(order[n_test:]), np.sort(order[:n_test])
