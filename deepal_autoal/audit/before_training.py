"""The accuracy of a model that takes long to train, from answers given before training: no further model is needed.

Just before a batch is learned, the present model predicts it. The batch's audited samples, which the strategy had not
labeled, are a uniform sample of what had no label then. So these answers are an unbiased test of that model on the rest
of the pool, as in prequential evaluation (Dawid, JRSS A 1984). Each round brings only a few of them, and they test
models with fewer labels than the present one has: their mean lags behind, by 5 to 9 points on digits in simulations.

The lag shows in the confidence, as what cross-fitting distorts does (see `estimates`): correctness is regressed on the
confidence in the answers, and averaged over the present model's confidence on what has no label now. The interval
extends by as much as this moved the estimate. With fewer than two errors, or two right answers, the plain count is
used, which lags.

On samples like the whole pool's, which the strategy has not thinned out, the accuracy lies between two values. If the
samples that it chose were predicted as before they were labeled, it is the mean of both parts, by their sizes: too low,
since samples like them are labeled now. If they were predicted like the rest, it is that of the rest: too high. The
estimate is the middle, and the interval contains both. They differ by little unless much of the pool is labeled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.audit.estimates import Estimate, HeldOut, accuracy_estimate, mean_estimate, of_finite, proportion
from deepal_autoal.audit.report import BEFORE_TRAINING, AuditEstimate

if TYPE_CHECKING:
    from numpy.typing import NDArray


def estimate_before_training(
    audited: HeldOut,
    labels: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    confidence: NDArray[np.float64],
    uniform: NDArray[np.int64],
    n_pool: int,
    n_rest: int,
    n_classes: int,
) -> AuditEstimate:
    """Return what answers before training say about the present model.

    Args:
        audited: The answers to audited samples that the strategy had not labeled, n > 0.
        labels: The labels of these samples, int64 (n,).
        chosen: Whether each of the strategy's samples was predicted rightly before it was labeled, bool (m,).
        confidence: The present model's, on a uniform sample of what has no label, (r,).
        uniform: The labels of the whole audit set, for the classes' frequencies, int64 (k,), k > 0.
        n_pool: Number of samples in the pool.
        n_rest: Number of those without a label.
        n_classes: Number of classes.
    """
    rest = accuracy_estimate(audited, confidence)
    counts = np.bincount(labels, minlength=n_classes).tolist()
    right = np.bincount(labels[audited.correct], minlength=n_classes).tolist()
    return AuditEstimate(
        _of_new_samples(rest, chosen, n_pool),
        of_finite(rest, n_rest) if n_rest else None,
        tuple(proportion(hits, count) if count else None for hits, count in zip(right, counts, strict=True)),
        tuple(proportion(count, len(uniform)) for count in np.bincount(uniform, minlength=n_classes).tolist()),
        mean_estimate(audited.confidence - audited.correct),
        method=BEFORE_TRAINING,
    )


def _of_new_samples(rest: Estimate, chosen: NDArray[np.bool_], n_pool: int) -> Estimate:
    """Return the accuracy on samples like the whole pool's, from that on the rest of it."""
    if not len(chosen):
        return rest
    share, before = len(chosen) / n_pool, float(chosen.mean())

    def mixed(value: float, of_chosen: float) -> float:
        return (1 - share) * value + share * of_chosen

    return Estimate(
        mixed(rest.estimate, (before + rest.estimate) / 2), mixed(rest.low, min(before, rest.low)),
        mixed(rest.high, max(before, rest.high)), rest.n,
    )  # fmt: skip
