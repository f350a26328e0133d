"""Which samples are labeled, which may be queried, and how the initial labeled set is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.errors import InputError
from deepal_autoal.numerics.arrays import as_array
from deepal_autoal.numerics.random_streams import numpy_stream

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Pool:
    """The labels known so far, in the order in which they were added.

    Args:
        members: Pool indices of all samples in use, distinct; those without a label may be queried.
        n_classes: Labels are 0 .. n_classes - 1.
    """

    def __init__(self, members: NDArray[np.int64], n_classes: int) -> None:
        self.members = np.sort(np.asarray(members, dtype=np.int64))
        self.n_classes = n_classes
        self._labels: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.members)

    @property
    def labeled(self) -> NDArray[np.int64]:
        """Indices of the labeled samples, int64 (M,), in the order in which they were labeled."""
        return np.fromiter(self._labels.keys(), dtype=np.int64, count=len(self._labels))

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels of `labeled`, int64 (M,)."""
        return np.fromiter(self._labels.values(), dtype=np.int64, count=len(self._labels))

    @property
    def unlabeled(self) -> NDArray[np.int64]:
        """Indices of the samples without a label, int64 (N,), ascending."""
        return np.setdiff1d(self.members, self.labeled, assume_unique=True)

    def add(self, indices: ArrayLike, labels: ArrayLike) -> None:
        """Add labels: all of them or, if one is invalid, none.

        Raises:
            InputError: If an index is not in the pool, given twice or already labeled, or a label is not a class.
        """
        rows = _integers("indices", indices)
        classes = _integers("labels", labels)
        if rows.shape != classes.shape:
            raise InputError(f"{len(rows)} indices but {len(classes)} labels; give one label for each index")
        outside = rows[~np.isin(rows, self.members)]
        if len(outside):
            raise InputError(f"index {outside[0]} is not in the pool")
        if len(np.unique(rows)) < len(rows):
            raise InputError("an index is given twice; give one label for each index")
        known = [row for row in rows.tolist() if row in self._labels]
        if known:
            raise InputError(f"index {known[0]} already has a label")
        wrong = classes[(classes < 0) | (classes >= self.n_classes)]
        if len(wrong):
            raise InputError(f"label {wrong[0]} is not a class; classes are 0 .. {self.n_classes - 1}")
        self._labels.update(zip(rows.tolist(), classes.tolist(), strict=True))


def draw_initial(pool_size: int, seed: int, size: int) -> NDArray[np.int64]:
    """Draw the positions of the initial labeled set, uniformly without replacement, sorted.

    They depend only on the pool's size, the seed and the set's size, never on labels, names or contents, so all
    strategies start from the same set.
    """
    positions = numpy_stream(pool_size, seed, size, "initial").choice(pool_size, size=size, replace=False)
    return np.sort(positions).astype(np.int64)


def draw_validation(pool_size: int, seed: int, size: int) -> NDArray[np.int64]:
    """Draw the positions of the validation set, uniformly without replacement, sorted.

    They depend only on the pool's size, the seed and the set's size; a larger set contains a smaller one.
    """
    return np.sort(numpy_stream(pool_size, seed, "validation").permutation(pool_size)[:size]).astype(np.int64)


def draw_members(n_samples: int, seed: int, size: int | None, n_copies: int = 1) -> NDArray[np.int64]:
    """Draw a random subset of the pool for a quick study, sorted; all of it when ``size`` is None.

    Of duplicates, all copies are drawn together, except for those of the last sample if the size is no multiple.

    Args:
        n_samples: Number of samples, copies included.
        seed: The run's.
        size: Number of samples to draw, likewise.
        n_copies: Of each distinct sample; copy k of row i is row i + k·(n_samples / n_copies).
    """
    if size is None or size == n_samples:
        return np.arange(n_samples, dtype=np.int64)
    if not 0 < size <= n_samples:
        raise InputError(f"--pool-size {size}: the pool has {n_samples} samples; give 1 to {n_samples}")
    distinct = n_samples // n_copies
    stream = numpy_stream(n_samples, seed, size, "pool")
    drawn = stream.choice(distinct, size=-(-size // n_copies), replace=False)
    copies = drawn[:, np.newaxis] + distinct * np.arange(n_copies)
    return np.sort(copies.reshape(-1)[:size])


def _integers(what: str, values: Any) -> NDArray[np.int64]:
    array = as_array(values, what)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(f"{what} must be a list of integers, got shape {array.shape} and type {array.dtype}")
    return array.astype(np.int64)
