"""Scaling of feature vectors before a model sees them, and its choice from the data, without labels.

Features of one kind, such as pixels, word counts or the entries of an embedding, differ in spread because they differ
in importance: dividing each by its own deviation amplifies noise to the size of the signal. Features of mixed units,
such as age and blood pressure, differ in spread for no such reason, and each must be scaled to unit deviation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.errors import InputError
from deepal_autoal.numerics.row_blocks import MOMENTS, read_rows

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

SCALINGS = ("auto", "global", "feature", "l2", "none")
OF_IMAGES = "channel"

# The choice looks at this many rows, evenly spaced; more would not change it.
_ROWS_LOOKED_AT = 10_000

# Rows of one length.
_LENGTH_TOLERANCE = 0.01
_LEAST_VARIANCE_SHARE = 0.01
# A common floor.
_FLOOR_SHARE = 0.9
_FLOOR_TOLERANCE = 0.01
_WIDE, _MEDIUM, _LARGEST_STEP = 10.0, 3.0, 10.0
_NARROWEST_DENSE, _DENSE = 0.03, 0.1
# A common range.
_FEWEST_WIDEST, _WIDEST_SHARE = 3, 0.25
# Columns in the order of their importance.
_FEWEST_SORTED = 8
_LEAST_CORRELATION = 0.95
_SIGNED_SHARE = 0.9
_HELD_SHARE, _FEWEST_LEADING, _LEADING_SHARE = 0.9, 5, 0.8
# Spread of the deviations.
_LARGEST_DEVIATION, _SMALLEST_DEVIATION = 10.0, 0.1
_SMALLEST_QUANTILE = 0.05


@dataclass(frozen=True)
class Scaling:
    """How samples are scaled.

    Attributes:
        name: ``global``, ``feature``, ``l2`` or ``none``; for images ``channel``.
        reason: Why, in a few words for people; empty for images.
    """

    name: str
    reason: str = ""


@dataclass(frozen=True)
class VectorMoments:
    """Statistics of feature vectors, float64 (D,) each.

    Attributes:
        low: Smallest values.
        high: Largest values.
        mean: Means; for a constant feature exactly its value.
        std: Standard deviations; 0 for a constant feature.
        lengths: The smallest and the largest length of a row.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    lengths: tuple[float, float]

    @classmethod
    def of(cls, array: NDArray[Any], indices: NDArray[np.int64] | None = None) -> VectorMoments:
        """Compute the statistics of an array's rows in one pass, in blocks of bounded size.

        Args:
            array: Floating (N, D); it may be memory-mapped.
            indices: The rows to use; all by default.
        """
        width, seen = array.shape[1], 0
        mean, squares = np.zeros(width), np.zeros(width)
        low, high = np.full(width, np.inf), np.full(width, -np.inf)
        shortest, longest = np.inf, 0.0
        for rows in read_rows(array, indices, MOMENTS.rows(8 * width)):
            part = rows.astype(np.float64)
            np.minimum(low, part.min(axis=0), out=low)
            np.maximum(high, part.max(axis=0), out=high)
            lengths = np.einsum("nd,nd->n", part, part)
            shortest, longest = min(shortest, float(lengths.min())), max(longest, float(lengths.max()))
            # Chan's update: the difference of large sums would lose the small deviations of offset features.
            n, part_mean = len(part), part.mean(axis=0)
            delta = part_mean - mean
            part -= part_mean
            squares += np.square(part, out=part).sum(axis=0) + delta**2 * (seen * n / (seen + n))
            mean += delta * (n / (seen + n))
            seen += n
        # Rounding may give a constant feature a deviation of 1e-17, which would amplify its noise.
        constant = low == high
        std = np.where(constant, 0.0, np.sqrt(squares / seen))
        return cls(low, high, np.where(constant, low, mean), std, (float(np.sqrt(shortest)), float(np.sqrt(longest))))


def check_scaling(scaling: str | None) -> None:
    """Refuse anything that is not the name of a scaling; None is allowed.

    Raises:
        InputError: If it is not a name; lists the names.
    """
    if scaling is not None and scaling not in SCALINGS:
        raise InputError(f"--scaling {scaling}: give {', '.join(SCALINGS[:-1])} or {SCALINGS[-1]}")


def resolve_scaling(scaling: str | None, samples: NDArray[Any], is_embeddings: bool = False) -> Scaling:
    """Return how samples are scaled.

    ``auto`` looks at 10,000 rows at most, evenly spaced, and ignores constant features. The first of these rules that
    holds decides (the fill of a feature is (mean - smallest) / (largest - smallest)):

    1. The data are declared to be embeddings: global.
    2. All rows have the same length, within 1%, and at least 1% of the mean squared length is variance: global. These
       are normalized embeddings or TF-IDF. (A large, nearly constant column also makes lengths equal, but has no
       variance.)
    3. At least 90% of the features have the same minimum, within 1% of the median range; none with a fill above 0.1
       has less than 3% of the median range; features with more than 10 times the median range do not outnumber those
       with 3 to 10 times; and above the median, no feature has more than 10 times the range of the next narrower one:
       global. These are pixels, counts, one-hot columns, or activations after a ReLU.
    4. At least 3 features, and a quarter of all, have the largest range, within 1%: global. These are pixels minus
       their means.
    5. There are at least 8 features, 90% of them with both signs, and their mean squares fall, or rise, along the
       columns: either with a rank correlation of at least 0.95, or the features that make up 90% of the sum are at
       least 5, 80% of them are at that end, and their correlation is above chance: global. These are PCA or SVD
       components.
    6. The largest standard deviation is at most 10 times the median one, and the 5th percentile (with fewer than 21
       features, the smallest) is at least a tenth of it: global; otherwise the units are mixed: feature.

    Args:
        scaling: One of `SCALINGS`; None is ``auto``. Images take only ``auto`` or the name in their records.
        samples: Images uint8 (N, H, W, C), or vectors floating (N, D). Pass all rows, not only those in use, so all
            seeds get the same choice.
        is_embeddings: Whether the data are declared to be embeddings.

    Raises:
        InputError: If there is no such scaling, or it is given for images.
    """
    is_image = samples.ndim == 4
    if not (is_image and scaling == OF_IMAGES):
        check_scaling(scaling)
    if is_image:
        if scaling not in (None, "auto", OF_IMAGES):
            raise InputError(f"--scaling {scaling} is for vectors, and these samples are images: leave it out")
        return Scaling(OF_IMAGES)
    if scaling not in (None, "auto"):
        return Scaling(scaling, "as asked for")
    if is_embeddings:
        return Scaling("global", "embeddings")
    n = len(samples)
    rows = None if n <= _ROWS_LOOKED_AT else np.linspace(0, n - 1, _ROWS_LOOKED_AT).astype(np.int64)
    return choose_scaling(VectorMoments.of(samples, rows))


def choose_scaling(moments: VectorMoments) -> Scaling:
    """Return the choice of ``auto`` (see `resolve_scaling`)."""
    varies = moments.std > 0
    if not varies.any():
        return Scaling("global", "features of one kind")
    low, high, mean, std = (
        values[varies] for values in (moments.low, moments.high, moments.mean, moments.std)
    )  # fmt: skip
    if _has_one_length(moments):
        return Scaling("global", "rows of one length")
    if _has_common_floor(low, high, mean):
        return Scaling("global", "features with a common minimum")
    width = high - low
    if (width >= (1 - _FLOOR_TOLERANCE) * width.max()).sum() >= max(_FEWEST_WIDEST, _WIDEST_SHARE * len(width)):
        return Scaling("global", "features of one range")
    if _is_sorted(low, high, mean, std):
        return Scaling("global", "features in the order of their variance")
    middle = np.median(std)
    smallest = np.quantile(std, _SMALLEST_QUANTILE, method="lower")
    if std.max() <= _LARGEST_DEVIATION * middle and smallest >= _SMALLEST_DEVIATION * middle:
        return Scaling("global", "features of one kind")
    return Scaling("feature", "features of mixed units")


def _has_one_length(moments: VectorMoments) -> bool:
    shortest, longest = moments.lengths
    variance, offset = float((moments.std**2).sum()), float((moments.mean**2).sum())
    if longest - shortest > _LENGTH_TOLERANCE * longest:
        return False
    return variance >= _LEAST_VARIANCE_SHARE * (variance + offset)


def _has_common_floor(low: NDArray[np.float64], high: NDArray[np.float64], mean: NDArray[np.float64]) -> bool:
    width = high - low
    middle = np.median(width)
    if np.mean(np.abs(low - np.median(low)) <= _FLOOR_TOLERANCE * middle) < _FLOOR_SHARE:
        return False
    is_dense = (mean - low) / width > _DENSE
    if (width[is_dense] < _NARROWEST_DENSE * middle).any():
        return False
    # Frequent words have wide ranges too, but words of medium frequency outnumber them; another unit leaves a gap.
    wide, medium = width > _WIDE * middle, width > _MEDIUM * middle
    if wide.sum() > (medium & ~wide).sum():
        return False
    ordered = np.sort(width[width >= middle])
    return bool((ordered[1:] <= _LARGEST_STEP * ordered[:-1]).all())


def _is_sorted(
    low: NDArray[np.float64], high: NDArray[np.float64], mean: NDArray[np.float64], std: NDArray[np.float64]
) -> bool:
    # Tables of mixed units that happen to be sorted rarely hold negative numbers.
    if len(std) < _FEWEST_SORTED or np.mean((low < 0) & (high > 0)) < _SIGNED_SHARE:
        return False
    squares = mean**2 + std**2
    return _falls(squares) or _falls(squares[::-1])


def _falls(squares: NDArray[np.float64]) -> bool:
    """Return whether the features' mean squares fall along the columns."""
    if _correlation(-squares) >= _LEAST_CORRELATION:
        return True
    # After the components that matter there may be many of pure noise, which nearly tie.
    order = np.argsort(-squares, kind="stable")
    held = np.cumsum(squares[order]) / squares.sum()
    n = int(np.searchsorted(held, _HELD_SHARE)) + 1
    if n < _FEWEST_LEADING or np.mean(order[:n] < n) < _LEADING_SHARE:
        return False
    # By chance this happens in less than 1% of cases.
    return _correlation(-squares[np.sort(order[:n])]) >= min(0.9, 2.6 / math.sqrt(n - 1))


def _correlation(values: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation of values with their positions."""
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])
