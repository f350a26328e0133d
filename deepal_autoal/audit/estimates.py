"""The accuracy of a model, with an interval, from a uniform sample of the pool.

Every audited sample is predicted by a model that was trained without it (cross-fitting), and the accuracy is the part
that is predicted rightly. Two things are wrong with that alone. The models had fewer labels than the present one. And
the strategy avoided what the audited samples had already taught: without one of them, nothing near it is labeled, so
that active learning looks worse than it is (by up to 5 points in benchmarks/audit). Both show in the confidence: on
the audited samples, these models are less confident than the present model is on the pool.

So correctness is regressed on confidence in the audited samples, and the accuracy is the regression's mean over a
larger uniform sample of the pool. This is prediction-powered inference (Angelopoulos et al., Science 2023) with a
recalibrated predictor, which is the logistic regression estimator of surveys (Lehtonen and Veijanen, Survey
Methodology 1998): confidence need not be calibrated, and if it predicts nothing, the result is the plain part. The
interval is that of Clopper and Pearson (1934) for the number of plain samples that would be as precise (Korn and
Graubard, Survey Methodology 1998). Confidence explains the strategy's influence only in part, about half of it in our
simulations, so the interval extends beyond the estimate's own by as much as the regression moved the estimate, on that
side. Which formula is used depends on counts of right and wrong predictions, never on which interval is narrower:
choosing the narrower one would make it cover too rarely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.95
_TAIL = (1 - CONFIDENCE) / 2
# With fewer right or wrong predictions, confidence is not used.
_LEAST_COUNT = 2
# Standard deviation of the prior of the regression's slope, per standard deviation of the log odds of confidence.
_SLOPE_SPREAD = 2.5
_CLIP = 1e-4
_STEPS = 50


@dataclass(frozen=True)
class Estimate:
    """An estimate with its 95% interval, all of them parts: 0.9 is 90%.

    Attributes:
        estimate: The estimate.
        low, high: The interval.
        n: Number of audited samples behind it.
    """

    estimate: float
    low: float
    high: float
    n: int

    @property
    def text(self) -> str:
        """In percent, such as ``91.4% (86.2% to 95.0%)``."""
        return f"{self.estimate:.1%} ({self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predictions of labeled samples by models that were trained without them.

    Attributes:
        correct: Whether the predicted class is the label, bool (n,).
        confidence: Probability of the predicted class, (n,), in [0, 1].
    """

    correct: NDArray[np.bool_]
    confidence: NDArray[np.float64]

    def part(self, rows: NDArray[Any]) -> HeldOut:
        """Return some of the samples, by position or by mask."""
        return HeldOut(self.correct[rows], self.confidence[rows])


def clopper_pearson(estimate: float, n: float) -> tuple[float, float]:
    """Return the 95% interval of a proportion.

    Args:
        estimate: Of ``n`` samples, in [0, 1].
        n: Number of samples, or of samples that would be as precise; not necessarily whole.
    """
    right = estimate * n
    low = float(stats.beta.ppf(_TAIL, right, n - right + 1)) if right > 0 else 0.0
    high = float(stats.beta.ppf(1 - _TAIL, right + 1, n - right)) if right < n else 1.0
    return low, high


def proportion(hits: int, n: int) -> Estimate:
    """Return a proportion of ``n`` > 0 samples with its interval."""
    return Estimate(hits / n, *clopper_pearson(hits / n, n), n)


def plain_accuracy(correct: NDArray[np.bool_]) -> Estimate:
    """Return the part of predictions that are right, without the use of confidence."""
    return proportion(int(correct.sum()), len(correct))


def accuracy_estimate(audited: HeldOut, reference: NDArray[np.float64]) -> Estimate:
    """Return the accuracy of the present model.

    Args:
        audited: Predictions of a uniform sample of the pool, n > 0.
        reference: The present model's confidence on a uniform sample of what the accuracy is asked of, (r,), and for
            labeled samples that of models trained without them.
    """
    plain = plain_accuracy(audited.correct)
    n, right = plain.n, int(audited.correct.sum())
    if not len(reference) or n < 4 or min(right, n - right) < _LEAST_COUNT:
        return plain
    estimate, variance = _regression_mean(audited, reference)
    estimate = min(max(estimate, 0.5 / n), 1 - 0.5 / n)
    # Of two coefficients, and a variance that is estimated too.
    student = float(stats.norm.isf(_TAIL) / stats.t.isf(_TAIL, n - 2))
    n_effective = min(2.0 * n, max(1.0, estimate * (1 - estimate) / variance * student**2))
    low, high = clopper_pearson(estimate, n_effective)
    moved = estimate - plain.estimate
    return Estimate(estimate, max(0.0, low + min(0.0, moved)), min(1.0, high + max(0.0, moved)), n)


def _regression_mean(audited: HeldOut, reference: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean over the reference of a logistic regression of correctness on confidence, and its variance."""
    z, y = _log_odds(audited.confidence), audited.correct.astype(np.float64)
    center, scale = z.mean(), max(float(z.std()), 1e-6)
    x, x_reference = (
        np.stack([np.ones(len(values)), (values - center) / scale], axis=1) for values in (z, _log_odds(reference))
    )
    prior = np.diag([0.0, _SLOPE_SPREAD**-2])
    coefficients = np.array([np.log(y.sum() / (len(y) - y.sum())), 0.0])
    for _ in range(_STEPS):  # Newton's, with bounded steps
        p = _sigmoid(x @ coefficients)
        hessian = x.T @ (x * (p * (1 - p))[:, None]) + prior
        step = np.clip(np.linalg.solve(hessian, x.T @ (y - p) - prior @ coefficients), -1, 1)
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-10:
            break
    p, q = _sigmoid(x @ coefficients), _sigmoid(x_reference @ coefficients)
    inverse = np.linalg.inv(x.T @ (x * (p * (1 - p))[:, None]) + prior)
    direction = inverse @ (x_reference * (q * (1 - q))[:, None]).mean(axis=0)
    # The larger of the variances that hold if the regression is right, and if it is not.
    right = direction @ np.linalg.solve(inverse, direction)
    robust = float(np.square((x @ direction) * (y - p)).sum() * len(y) / (len(y) - 2))
    return float(q.mean()), max(float(right), robust) + float(q.var()) / len(q)


def _log_odds(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    bounded = np.clip(confidence.astype(np.float64), _CLIP, 1 - _CLIP)
    return np.asarray(np.log(bounded / (1 - bounded)))


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-values)))


def of_finite(found: Estimate, size: int) -> Estimate:
    """Extend an interval to the next parts that so many samples can have."""
    low, high = math.floor(found.low * size) / size, math.ceil(found.high * size) / size
    return Estimate(found.estimate, low, high, found.n)


def mean_estimate(values: NDArray[np.float64]) -> Estimate:
    """Return the mean of values in [-1, 1], with Student's interval."""
    n, mean = len(values), float(values.mean())
    half = float(stats.t.isf(_TAIL, n - 1) * values.std(ddof=1) / math.sqrt(n)) if n > 1 else 2.0
    return Estimate(mean, max(-1.0, mean - half), min(1.0, mean + half), n)
