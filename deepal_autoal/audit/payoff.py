"""How many labels of a uniform sample the present labels are worth, and what the next batch will bring.

The audit set is what a learner that samples uniformly would have got. Models trained on parts of it, each evaluated on
the rest, give that learner's curve: its error falls as a power of the number of labels. The number at which the curve
meets the present model's error is the answer. It lies beyond the audit set, so the curve is extrapolated, and the
answer is uncertain; the interval is from a bootstrap over audited samples and models. Curves that level out reach the
present error later than a power law says: the answer is then too small rather than too large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.audit.estimates import CONFIDENCE
from deepal_autoal.numerics.random_streams import numpy_stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# With fewer audited samples, or fewer errors of the present model on them, nothing is said.
LEAST_SAMPLES = 30
LEAST_ERRORS = 5
_RESAMPLES = 1000
# Numbers of equal parts: models are trained on one of 4, on one of 2, and on all but one of 5.
_PARTS = (4, 2)
_LEAVE_OUT = 5
N_PARTS = sum(_PARTS) + _LEAVE_OUT
_FLATTEST = 0.05
# Equivalents beyond this multiple of the present number of labels have no upper bound.
_MOST = 20.0


@dataclass(frozen=True)
class Range:
    """An estimate with its 95% interval.

    Attributes:
        estimate: The estimate.
        low, high: The interval; ``high`` is None if there is no upper bound.
    """

    estimate: float
    low: float
    high: float | None


@dataclass(frozen=True, eq=False)
class Payoff:
    """What labels are worth.

    Attributes:
        n_labels: Number of labels of the present model.
        equivalent: The number of labels of a uniform sample that gives its accuracy.
        exponents: Of the fall of the error with the number of labels, by resample, (r,).
        errors: Of the present model, by resample, (r,).
        exponent, error: Both without resampling.
    """

    n_labels: int
    equivalent: Range
    exponents: NDArray[np.float64]
    errors: NDArray[np.float64]
    exponent: float
    error: float

    @property
    def text(self) -> str:
        """A sentence on `is_paying`."""
        low, high = round(self.equivalent.low), self.equivalent.high
        worth = f"{low:,} labels of a uniform sample or more" if high is None else (
            f"{low:,} to {round(high):,} labels of a uniform sample")  # fmt: skip
        if self.is_paying is None:
            return f"Cannot tell yet whether choosing pays: {self.n_labels:,} labels are worth {worth}."
        verdict = "Choosing pays" if self.is_paying else "Choosing does not pay"
        return f"{verdict}: {self.n_labels:,} labels are worth {worth}."

    def gain(self, batch_size: int) -> Range:
        """Return the expected rise of the accuracy by another batch, if the error keeps falling at this rate."""
        factor = self.n_labels / (self.n_labels + batch_size)
        low, high = _interval(self.errors * (1 - factor**self.exponents))
        return Range(self.error * (1 - factor**self.exponent), float(low), float(high))

    @property
    def is_paying(self) -> bool | None:
        """Whether the labels are worth more than as many of a uniform sample; None while that is open."""
        if self.equivalent.low > self.n_labels:
            return True
        return False if self.equivalent.high is not None and self.equivalent.high < self.n_labels else None


def curve_parts(n_audited: int) -> list[NDArray[np.int64]]:
    """Return the parts of an audit set on which models are trained for the curve, as positions in its order."""
    positions = np.arange(n_audited)
    parts = [positions[positions % number == part] for number in _PARTS for part in range(number)]
    return [*parts, *(positions[positions % _LEAVE_OUT != part] for part in range(_LEAVE_OUT))]


def payoff(
    parts: Sequence[NDArray[np.int64]],
    correct: NDArray[np.bool_],
    present: NDArray[np.bool_],
    accuracy: float,
    n_labels: int,
    seed: int,
) -> Payoff | None:
    """Compare the present model with models trained on uniform samples.

    Args:
        parts: As `curve_parts` returns them.
        correct: Whether each one's model predicts each audited sample rightly, bool (len(parts), m).
        present: Whether models of all labels that were trained without the sample do, bool (m,).
        accuracy: The present model's, as `accuracy_estimate` corrects that of ``present``.
        n_labels: Number of labels of the present model.
        seed: Seed of the bootstrap.

    Returns:
        What the labels are worth, or None if that cannot be told yet.
    """
    n = len(present)
    if n < LEAST_SAMPLES or int((~present).sum()) < LEAST_ERRORS:
        return None
    # How far the correction should go is not known: in resamples, between not at all and twice as far.
    correction = (1 - accuracy) / float((~present).mean())
    is_unseen = np.ones(correct.shape, dtype=np.float64)
    for row, part in zip(is_unseen, parts, strict=True):
        row[part] = 0.0
    sizes = np.array([len(part) for part in parts])
    wrong = (~correct) * is_unseen
    kinds = np.repeat(np.arange(len(_PARTS) + 1), [*_PARTS, _LEAVE_OUT])
    x = np.log([sizes[kinds == kind].mean() for kind in range(len(_PARTS) + 1)])
    importance = np.array([wrong[kinds == kind].sum() / (kinds == kind).sum() for kind in range(len(_PARTS) + 1)]) + 1

    def fit(weights: NDArray[np.float64], rng: np.random.Generator | None) -> tuple[NDArray[np.float64], ...]:
        """Return exponents, errors of the present model and equivalents for weights of samples, (r, n)."""
        missed, seen = weights @ wrong.T, weights @ is_unseen.T
        columns = []
        for kind in range(len(_PARTS) + 1):
            models = np.flatnonzero(kinds == kind)
            chosen = np.tile(models, (len(weights), 1))
            if rng is not None:
                chosen = rng.choice(models, size=(len(weights), len(models)))
            counts = [np.take_along_axis(values, chosen, axis=1).sum(1) for values in (missed, seen)]
            columns.append((counts[0] + 0.5) / (counts[1] + 1))
        y = np.log(np.stack(columns, axis=1))
        center = (x * importance).sum() / importance.sum()
        slopes = (y * importance) @ (x - center) / (importance * (x - center) ** 2).sum()
        middle = (y * importance).sum(1) / importance.sum()
        exponents = np.maximum(-slopes, _FLATTEST)
        errors = (weights @ (~present) + 0.5) / (weights.sum(1) + 1)
        errors *= correction ** (np.ones(len(weights)) if rng is None else rng.uniform(0, 2, size=len(weights)))
        with np.errstate(over="ignore"):
            equivalents = np.exp(center + (middle - np.log(errors)) / exponents)
        return exponents, errors, equivalents

    (exponent,), (error,), (equivalent,) = fit(np.ones((1, n)), None)
    rng = numpy_stream(seed, "payoff")
    exponents, errors, equivalents = fit(rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES).astype(float), rng)
    low, high = _interval(equivalents)
    most = _MOST * n_labels
    if low > most or equivalent > most:
        return None
    worth = Range(float(equivalent), float(low), float(high) if high <= most else None)
    return Payoff(n_labels, worth, exponents, errors, float(exponent), float(error))


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
