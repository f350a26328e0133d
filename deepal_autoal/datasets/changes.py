"""Deliberate changes to a pool for studies: class imbalance, wrong labels, duplicates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.errors import InputError
from deepal_autoal.measuring.resources import memory_size
from deepal_autoal.numerics.random_streams import numpy_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

ELLIPSES = ("...", "…")
LARGEST_RATIO = 1e9
FORMS = "1:10, step:1:10, linear:1:10, or a proportion for each class such as 1:2:4"


@dataclass(frozen=True)
class PoolChanges:
    """Changes to a pool, drawn with the run's seed; the test split is unchanged.

    Attributes:
        imbalance: Relative class frequencies, first to last (see `class_proportions`); None leaves them unchanged.
        label_noise: Probability, in [0, 1), that the oracle answers with another class, all equally likely.
        duplicates: Number of copies of every sample in the pool, at least 1. Copy k of row i is row i + k·N, and is
            queried and labeled separately.

    Raises:
        InputError: If a number is out of range.
    """

    imbalance: str | None = None
    label_noise: float | None = None
    duplicates: int | None = None

    def __post_init__(self) -> None:
        if self.imbalance is not None and not isinstance(self.imbalance, str):
            raise InputError(f"--imbalance {self.imbalance!r}: give a string such as {FORMS}")
        if self.label_noise is not None and not (_is_number(self.label_noise) and 0 <= self.label_noise < 1):
            raise InputError(f"--label-noise {self.label_noise!r}: give a probability of at least 0 and below 1")
        if self.duplicates is not None and not (isinstance(self.duplicates, int) and self.duplicates >= 1):
            raise InputError(f"--duplicates {self.duplicates!r}: give a whole number, 1 (each sample once) or more")

    def __bool__(self) -> bool:
        return self.imbalance is not None or bool(self.label_noise) or self._copies > 1

    @property
    def _copies(self) -> int:
        return self.duplicates or 1

    def apply(self, dataset: Dataset, seed: int) -> tuple[Dataset, NDArray[np.int64]]:
        """Return the changed dataset and its rows that are in the pool, int64, ascending.

        Imbalance removes rows from the pool without renumbering the others, noise changes labels, and duplicates
        append rows. The number of rows in the pool does not depend on the seed.

        Args:
            dataset: The dataset whose training split is the pool.
            seed: The run's seed.

        Raises:
            InputError: If the imbalance has an unknown form or the wrong number of classes, or the copies do not fit
                into memory.
        """
        n, copies = len(dataset.x_train), self._copies
        rows = self._rows(dataset, seed)
        self._check_memory(dataset)
        if copies > 1:
            x_train = np.concatenate([dataset.x_train] * copies)
            dataset = replace(dataset, x_train=x_train, y_train=np.tile(dataset.y_train, copies), ids_train=None)
            rows = (rows + n * np.arange(copies)[:, np.newaxis]).reshape(-1)
        if self.label_noise:
            dataset = replace(dataset, y_train=noisy(dataset.y_train, self.label_noise, seed))
        return dataset, rows

    def _check_memory(self, dataset: Dataset) -> None:
        needed = self._copies * dataset.x_train.nbytes
        if self._copies > 1 and needed > memory_size():  # Linux overcommits memory, then kills the process
            raise InputError(
                f"--duplicates {self._copies}: {needed / 2**30:.1f} GiB do not fit into memory; give fewer"
            )

    def describe(self, dataset: Dataset) -> dict[str, Any]:
        """Return the changes and the resulting true class counts in the pool, which do not depend on the seed.

        Raises:
            InputError: As `apply` does.
        """
        self._check_memory(dataset)
        counts = np.bincount(dataset.y_train[self._rows(dataset, 0)], minlength=dataset.n_classes)
        return {
            "imbalance": self.imbalance,
            "label_noise": float(self.label_noise) if self.label_noise else None,
            "duplicates": self._copies if self._copies > 1 else None,
            "class_counts": (counts * self._copies).tolist(),
        }

    def _rows(self, dataset: Dataset, seed: int) -> NDArray[np.int64]:
        if self.imbalance is None:
            return np.arange(len(dataset.x_train), dtype=np.int64)
        return imbalanced_rows(dataset.y_train, dataset.n_classes, self.imbalance, seed)


def class_proportions(text: str, n_classes: int) -> NDArray[np.float64]:
    """Return the relative frequency of each class, float64 (C,).

    ``1:10`` rises geometrically from 1 for the first class to 10 for the last (the usual long tail, rarest class
    first), ``linear:1:10`` in equal steps (for ten classes DeepAL+'s ``1:2:...:10``, which is accepted too), and
    ``step:1:10`` gives 1 to the first half of the classes and 10 to the others (including the middle one of an odd
    number). More than two numbers are proportions, one per class.

    Args:
        text: One of these forms; numbers are positive.
        n_classes: Number of classes (C).

    Raises:
        InputError: If it has another form, or the wrong number of classes.
    """
    kind, _, rest = text.partition(":") if text[:1].isalpha() else ("", "", text)
    words = [word.strip() for word in rest.split(":")]
    is_elided = len(words) == 4 and words[2] in ELLIPSES
    numbers = _numbers(text, [word for word in words if not (is_elided and word in ELLIPSES)])
    if is_elided and not kind:
        return _arithmetic(text, numbers, n_classes)
    if kind in CURVES and len(numbers) == 2:
        return CURVES[kind](numbers[0], numbers[1], n_classes)
    if kind or len(numbers) == 1:
        raise InputError(f"--imbalance {text}: write {FORMS}")
    if len(numbers) != n_classes:
        raise InputError(
            f"--imbalance {text}: {len(numbers)} proportions for {n_classes} classes; give one per class, or a "
            "ratio such as 1:10"
        )
    return np.array(numbers)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _geometric(first: float, last: float, n_classes: int) -> NDArray[np.float64]:
    return first * (last / first) ** np.linspace(0.0, 1.0, n_classes)


def _linear(first: float, last: float, n_classes: int) -> NDArray[np.float64]:
    return np.linspace(first, last, n_classes)


def _step(first: float, last: float, n_classes: int) -> NDArray[np.float64]:
    return np.where(np.arange(n_classes) < n_classes // 2, first, last)


CURVES = {"": _geometric, "exponential": _geometric, "linear": _linear, "step": _step}


def _arithmetic(text: str, numbers: Sequence[float], n_classes: int) -> NDArray[np.float64]:
    """Return the progression ``first:second:...:last``."""
    first, second, last = numbers
    progression = np.arange(n_classes, dtype=np.float64) * (second - first) + first
    if not math.isclose(progression[-1], last):
        raise InputError(
            f"--imbalance {text}: for {n_classes} classes it ends at {progression[-1]:g}; write "
            f"linear:{first:g}:{last:g}"
        )
    return progression


def _numbers(text: str, words: Sequence[str]) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise InputError(f"--imbalance {text}: write {FORMS}") from None
    if not all(0 < number < math.inf for number in numbers):
        raise InputError(f"--imbalance {text}: every number must be positive and finite, as in 1:10")
    if max(numbers) > LARGEST_RATIO * min(numbers):
        raise InputError(f"--imbalance {text}: give a ratio of at most {LARGEST_RATIO:g}")
    return numbers


def imbalanced_rows(labels: NDArray[np.int64], n_classes: int, text: str, seed: int) -> NDArray[np.int64]:
    """Return a random subset of rows in which the classes occur in given proportions, int64, ascending.

    There are as many rows as the data allow: at least one class keeps all its samples, and every class keeps at least
    one. The number of samples per class does not depend on the seed.

    Args:
        labels: int64 (N,), in 0 .. C - 1. Classes that do not occur are ignored.
        n_classes: Number of classes (C).
        text: See `class_proportions`.
        seed: Seed of the choice.

    Raises:
        InputError: See `class_proportions`.
    """
    proportions = class_proportions(text, n_classes)
    counts = np.bincount(labels, minlength=n_classes)
    scale = min(counts[present] / proportions[present] for present in np.flatnonzero(counts))
    chosen = []
    for number in np.flatnonzero(counts):
        # Rounding may leave the limiting class slightly below a whole number.
        size = max(1, math.floor(scale * proportions[number] + 1e-6))
        stream = numpy_stream(seed, "imbalance", text, int(number))
        chosen.append(stream.choice(np.flatnonzero(labels == number), size=size, replace=False))
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def noisy(labels: NDArray[np.int64], rate: float, seed: int) -> NDArray[np.int64]:
    """Return labels that are each wrong with a given probability, int64 (N,).

    Wrong labels are drawn uniformly from the other classes that occur.

    Args:
        labels: int64 (N,), of at least two classes.
        rate: The probability.
        seed: Seed of the errors. The errors at a lower rate are among those at a higher rate.
    """
    stream = numpy_stream(seed, "label noise", len(labels))
    is_wrong = stream.random(len(labels)) < rate
    present, position = np.unique(labels, return_inverse=True)
    shift = stream.integers(1, len(present), size=len(labels))
    return np.where(is_wrong, present[(position + shift) % len(present)], labels)
