"""Whether to label another batch: its expected gain against its cost, and whether predictions still change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepal_autoal.audit.report import BEFORE_TRAINING
from deepal_autoal.errors import InputError

if TYPE_CHECKING:
    from deepal_autoal.audit.report import AuditEstimate

STABLE = 0.99
# Models fewer labels apart agree whatever they have learned; simulations had batches of this size.
LEAST_BATCH = 20


@dataclass(frozen=True)
class Advice:
    """Advice on the next batch.

    Attributes:
        should_stop: Whether even the highest gain that is expected is worth less than the batch costs, or predictions
            have stopped changing; None without costs, or if neither can be told yet.
        text: The advice in sentences.
    """

    should_stop: bool | None
    text: str


def check_costs(label_cost: float | None, value_per_point: float | None) -> None:
    """Refuse one without the other, and what is no amount.

    Raises:
        InputError: If so.
    """
    if (label_cost is None) != (value_per_point is None):
        raise InputError("give both the cost of a label and the value of a point of accuracy, in one currency")
    for amount in (label_cost, value_per_point):
        if amount is not None and not 0 <= amount < float("inf"):
            raise InputError(f"{amount}: give an amount of at least 0")


def advise(
    estimate: AuditEstimate | None,
    batch_size: int,
    label_cost: float | None = None,
    value_per_point: float | None = None,
) -> Advice:
    """Return whether to label another batch.

    Either reason to stop suffices. On data that a model learns easily, few audited samples leave the highest gain that
    is possible far above what is likely, while predictions have long stopped changing; on hard data predictions change
    at every batch, and the curve tells that little comes of it (Bloodgood & Vijay-Shanker 2009 for the agreement).
    With batches below `LEAST_BATCH`, agreement is no reason.

    Args:
        estimate: What the audit says; None if there is none yet.
        batch_size: Size of the batch.
        label_cost: Cost of a label.
        value_per_point: What a percentage point of accuracy is worth, in the same currency.

    Raises:
        InputError: If only one of the amounts is given, or one is negative.
    """
    check_costs(label_cost, value_per_point)
    payoff = None if estimate is None else estimate.payoff
    stability = None if estimate is None else estimate.stability
    should_stop = None
    is_stable = stability is not None and stability >= STABLE
    is_reason = is_stable and label_cost is not None and batch_size >= LEAST_BATCH
    if estimate is not None and estimate.method == BEFORE_TRAINING:
        text = "What the next batch will bring cannot be told without further models."
    elif payoff is None:
        text = "Cannot tell yet what the next batch will bring."
    else:
        gain = payoff.gain(batch_size)
        low, high = 100 * gain.low, 100 * (gain.estimate if gain.high is None else gain.high)
        text = f"The next {batch_size:,} labels will bring about {100 * gain.estimate:.2g} points of accuracy "
        text += f"({low:.2g} to {high:.2g})"
        if label_cost is None or value_per_point is None:
            text += "."
        else:
            cost, should_stop = label_cost * batch_size, high * value_per_point < label_cost * batch_size
            text += f", worth {low * value_per_point:.4g} to {high * value_per_point:.4g}, and cost {cost:.4g}"
            if is_reason:
                text += "."
            elif should_stop:
                text += ": stop."
            else:
                text += ": go on." if low * value_per_point >= cost else ": it may pay or not."
    if is_reason:
        text += f" Predictions have stopped changing (agreement {stability:.3f}): stop."
    elif stability is not None:
        has = "have stopped" if is_stable else "keep"
        text += f" Second opinion: predictions {has} changing (agreement {stability:.3f})."
    return Advice(True if is_reason else should_stop, text)
