"""All that an audit says about a model, and about the next batch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.audit.estimates import Estimate, HeldOut, accuracy_estimate, mean_estimate, of_finite, proportion
from deepal_autoal.errors import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal.audit.payoff import Payoff

LAST_ROUNDS = 3
CROSS_FITTING, BEFORE_TRAINING = "cross-fitting", "before training"
"""How audited samples were predicted: by further models, or by the present one before it was trained on them."""


@dataclass(frozen=True)
class AuditEstimate:
    """What an audit set says about the model.

    Attributes:
        accuracy: On samples like those of the pool that the model was not trained on.
        rest: On the samples of the pool without a label, which the strategy has made easier or harder by what it took;
            None if there are none.
        recall: For each class, the part of its samples that are predicted as it; None for classes without samples.
        frequencies: For each class, its part of the pool.
        overconfidence: How much higher the models' mean confidence is than the part that they predict rightly.
        payoff: What the labels are worth, and what the next ones will bring; None if that cannot be told yet.
        stability: Mean agreement (Cohen's kappa) of the last `LAST_ROUNDS` + 1 models in turn on a fixed sample of the
            pool; None before there are so many. From 0.99 on, models have stopped changing (Bloodgood and
            Vijay-Shanker, CoNLL 2009).
        method: `CROSS_FITTING` or `BEFORE_TRAINING`. The latter has no ``payoff``, which needs further models.
    """

    accuracy: Estimate
    rest: Estimate | None
    recall: tuple[Estimate | None, ...]
    frequencies: tuple[Estimate, ...]
    overconfidence: Estimate
    payoff: Payoff | None = None
    stability: float | None = None
    method: str = CROSS_FITTING

    def __str__(self) -> str:
        return f"accuracy {self.accuracy.text}, from {counted(self.accuracy.n, 'audited sample')}"

    @property
    def verdict(self) -> str:
        """Whether choosing pays, as a sentence."""
        if self.method == BEFORE_TRAINING:
            return "Whether choosing pays cannot be told without further models."
        return "Cannot tell yet whether choosing pays." if self.payoff is None else self.payoff.text

    def to_json(self, batch_size: int) -> dict[str, Any]:
        """Return the entry ``audit`` of a round's record, with the gain expected of a batch of this size."""
        payoff = self.payoff
        return {
            **_named(self.accuracy),
            "method": self.method,
            "rest": None if self.rest is None else _named(self.rest),
            "recall": [None if one is None else asdict(one) for one in self.recall],
            "frequencies": [asdict(one) for one in self.frequencies],
            "overconfidence": asdict(self.overconfidence),
            "equivalent_random_labels": None if payoff is None else asdict(payoff.equivalent),
            "next_gain": None if payoff is None else asdict(payoff.gain(batch_size)),
            "stability": self.stability,
        }


def _named(accuracy: Estimate) -> dict[str, Any]:
    return {"accuracy": accuracy.estimate, "low": accuracy.low, "high": accuracy.high, "n": accuracy.n}


def audit_estimate(
    labels: NDArray[np.int64],
    held_out: HeldOut,
    is_audited: NDArray[np.bool_],
    rest: NDArray[np.float64],
    is_reference: NDArray[np.bool_],
    n_rest: int,
    n_classes: int,
) -> AuditEstimate:
    """Return what the audited samples say about the model.

    Args:
        labels: Of all labeled samples, int64 (n,).
        held_out: Their predictions.
        is_audited: Which of them are audited, bool (n,); at least one.
        rest: The present model's confidence on unlabeled samples, (r,): those in a uniform sample of the pool.
        is_reference: Which labeled samples are in that sample of the pool, bool (n,).
        n_rest: Number of samples of the pool without a label.
        n_classes: Number of classes.
    """
    audited, classes = held_out.part(is_audited), labels[is_audited]
    n = len(classes)
    counts = np.bincount(classes, minlength=n_classes).tolist()
    right = np.bincount(classes[audited.correct], minlength=n_classes).tolist()
    return AuditEstimate(
        accuracy_estimate(audited, np.concatenate([rest, held_out.confidence[is_reference]])),
        of_finite(accuracy_estimate(audited, rest), n_rest) if n_rest else None,
        tuple(proportion(hits, count) if count else None for hits, count in zip(right, counts, strict=True)),
        tuple(proportion(count, n) for count in counts),
        mean_estimate(audited.confidence - audited.correct),
    )


def cohens_kappa(one: NDArray[np.int64], other: NDArray[np.int64], n_classes: int) -> float:
    """Return the agreement of two classifications of the same samples beyond chance: 1 if they are equal.

    NaN if both have one class only: that they agree says nothing.
    """
    both = np.zeros((n_classes, n_classes))
    np.add.at(both, (one, other), 1 / len(one))
    by_chance = float(both.sum(0) @ both.sum(1))
    return float("nan") if by_chance >= 1 - 1e-12 else (float(np.trace(both)) - by_chance) / (1 - by_chance)
