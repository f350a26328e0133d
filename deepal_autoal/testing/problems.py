"""Small labeled pools, the same in every process, on which strategies are checked."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Shape of one sample; images are uint8.
SHAPES: dict[str, tuple[int, ...]] = {"vectors": (6,), "images": (8, 8, 1), "color images": (9, 7, 3)}

# A dozen steps: enough to learn something without saturating.
QUICK: dict[str, Any] = {"epochs": 2, "min_steps": 12, "train_batch_size": 16, "precision": "float32"}


@dataclass(frozen=True, eq=False)
class Problem:
    """A pool, its true labels, and its initially labeled samples.

    Attributes:
        pool: Vectors float32 (n, D), or images uint8 (n, H, W, C).
        labels: The true classes, int64 (n,).
        n_classes: Number of classes, C.
        labeled: Pool indices of the labeled samples, scattered among the others, in no order.
        model: Name of the task model; ``auto`` is a network: mlp for vectors, cnn for images.
        n_rounds: Number of planned rounds; None if labels are given interactively.
    """

    pool: NDArray[Any]
    labels: NDArray[np.int64]
    n_classes: int
    labeled: NDArray[np.int64]
    model: str = "auto"
    n_rounds: int | None = None

    @property
    def n_candidates(self) -> int:
        """Number of unlabeled samples, N."""
        return len(self.pool) - len(self.labeled)


@functools.cache
def blobs(
    kind: str = "vectors",
    n: int = 66,
    n_labeled: int = 18,
    n_classes: int = 3,
    *,
    missing_class: bool = False,
    n_features: int | None = None,
    model: str = "auto",
    n_rounds: int | None = 3,
) -> Problem:
    """Return a pool of one Gaussian blob per class: generic data without identical samples.

    Args:
        kind: A key of `SHAPES`.
        n: Samples in the pool.
        n_labeled: How many of them are labeled; at least one of every class if there are enough.
        n_classes: Number of classes.
        missing_class: Whether the last class has no labeled sample.
        n_features: Features per vector, if not the default number.
        model: The task model.
        n_rounds: Number of planned rounds.
    """
    rng = np.random.default_rng([n, n_labeled, n_classes])
    shape = SHAPES[kind] if n_features is None else (n_features,)
    labels = rng.permutation(np.arange(n) % n_classes).astype(np.int64)
    centers = rng.normal(size=(n_classes, *shape))
    samples = 1.5 * centers[labels] + rng.normal(size=(n, *shape))
    pool = samples.astype(np.float32) if len(shape) == 1 else np.clip(128 + 24 * samples, 0, 255).astype(np.uint8)
    allowed = np.flatnonzero(labels < n_classes - missing_class)
    one_of_each = np.unique(labels[allowed], return_index=True)[1][:n_labeled]
    rest = np.setdiff1d(allowed, allowed[one_of_each])
    more = rng.choice(rest, size=n_labeled - len(one_of_each), replace=False)
    labeled = rng.permutation(np.concatenate([allowed[one_of_each], more]))
    return Problem(pool, labels, n_classes, labeled, model, n_rounds)


@functools.cache
def repeated(kind: str, everywhere: bool) -> Problem:
    """Return a pool of identical candidates, with equal or different labeled samples."""
    base = blobs(kind)
    pool = base.pool.copy()
    rows = np.arange(len(pool)) if everywhere else np.setdiff1d(np.arange(len(pool)), base.labeled)
    pool[rows] = pool[rows[0]]
    return Problem(pool, base.labels, base.n_classes, base.labeled)
