"""Whether to label another batch: its expected gain against its cost, and whether predictions still change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    from deepal_autoal.audit.report import BEFORE_TRAINING

    gain = None if estimate is None or estimate.payoff is None else estimate.payoff.gain(batch_size)
    is_untrained = estimate is not None and estimate.method == BEFORE_TRAINING
    stability = None if estimate is None else estimate.stability
    bounds = None if gain is None else (gain.low, gain.estimate, gain.high)
    return weigh(bounds, stability, batch_size, label_cost, value_per_point, is_untrained)


def weigh(
    gain: tuple[float, float, float | None] | None,
    stability: float | None,
    batch_size: int,
    label_cost: float | None = None,
    value_per_point: float | None = None,
    is_untrained: bool = False,
) -> Advice:
    """Return the advice of `advise` from what an audit said.

    Args:
        gain: Expected rise of the accuracy by the batch: lowest, estimate and highest, the last None if there is no
            limit; None if it cannot be told.
        stability: Agreement of the last models; None if it cannot be told.
        batch_size: Size of the batch.
        label_cost: Cost of a label.
        value_per_point: What a percentage point of accuracy is worth, in the same currency.
        is_untrained: Whether the audit trained no models that could tell the gain.

    Raises:
        InputError: If only one of the amounts is given, or one is negative.
    """
    check_costs(label_cost, value_per_point)
    should_stop = None
    is_stable = stability is not None and stability >= STABLE
    is_reason = is_stable and label_cost is not None and batch_size >= LEAST_BATCH
    if gain is None:
        text = "Cannot tell yet what the next batch will bring."
        if is_untrained:
            text = "What the next batch will bring cannot be told without further models."
    else:
        low, middle, high = (100 * (gain[1] if bound is None else bound) for bound in gain)
        text = (
            f"The next {batch_size:,} labels will bring about {middle:.2g} points of accuracy ({low:.2g} to {high:.2g})"
        )
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
