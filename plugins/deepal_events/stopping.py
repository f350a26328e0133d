"""Stop a run early: at a target accuracy, when further labels bring no gain, or when they cost more than they bring."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deepal_autoal import hookimpl

if TYPE_CHECKING:
    from deepal_autoal import ActiveRun, Registrar

deepal_contract = 1

logger = logging.getLogger(__name__)


@hookimpl
def deepal_register_options(registry: Registrar) -> None:
    """Add the options of the stopping rules."""
    registry.add(
        "target-accuracy",
        f"{__name__}:as_accuracy",
        metavar="A",
        summary="Stop once the test accuracy is at least A, in (0, 1].",
    )
    registry.add(
        "patience",
        f"{__name__}:as_rounds",
        metavar="K",
        summary="Stop when K rounds in a row brought no gain in test accuracy.",
    )
    registry.add(
        "min-gain",
        f"{__name__}:as_gain",
        metavar="G",
        summary="With --patience: a gain is more than G above the best earlier accuracy; G in [0, 1), default 0.",
    )
    registry.add(
        "stop-on",
        f"{__name__}:as_source",
        metavar="test|audit",
        summary="Accuracy of --target-accuracy and --patience: on the test set (default), or --audit's estimate.",
    )
    registry.add(
        "label-cost",
        f"{__name__}:as_amount",
        metavar="C",
        summary="With --audit: stop when a batch, at C a label, costs more than it is worth, or predictions settle.",
    )
    registry.add(
        "value-per-point",
        f"{__name__}:as_amount",
        metavar="V",
        summary="With --label-cost: what a percentage point of accuracy is worth, in the same currency.",
    )


@hookimpl
def deepal_run_started(run: ActiveRun) -> None:
    """Warn if an option has no effect."""
    if (run.options["label-cost"] is None) != (run.options["value-per-point"] is None):
        logger.warning("--label-cost and --value-per-point have no effect without each other")
    if not run.config["settings"].get("audit") and (_prices(run) or run.options["stop-on"] == "audit"):
        logger.warning("--stop-on audit and --label-cost have no effect without --audit, such as --audit 0.1")
    if run.config["settings"].get("audit_folds") == 0 and _prices(run):
        logger.warning("--label-cost weighs nothing with --audit-folds 0: it stops once predictions stop changing")
    if run.options["min-gain"] is not None and run.options["patience"] is None:
        logger.warning("--min-gain has no effect without --patience")


@hookimpl
def deepal_should_stop(run: ActiveRun) -> str | None:
    """Return the reason to stop, or None."""
    is_audited = bool(run.config["settings"].get("audit"))
    if is_audited and _prices(run):
        advice = run.learner.advise(run.config["batch_size"], *_prices(run))
        if advice.should_stop:
            return advice.text
    name, rounds = "test accuracy", [*run.records, run.metrics]
    if is_audited and run.options["stop-on"] == "audit":
        name, rounds = "the audit's estimate", [one["audit"] for one in rounds if one["audit"] is not None]
    accuracies = [one["accuracy"] for one in rounds]
    target, patience = run.options["target-accuracy"], run.options["patience"]
    if accuracies and target is not None and accuracies[-1] >= target:
        return f"{name} {accuracies[-1]:.4f} reaches the target {target:g}"
    if patience is not None:
        return no_gain(accuracies, patience, run.options["min-gain"] or 0.0)
    return None


def _prices(run: ActiveRun) -> tuple[float, ...]:
    """Return the cost of a label and the value of a point, or nothing unless both are given."""
    cost, value = run.options["label-cost"], run.options["value-per-point"]
    return () if cost is None or value is None else (cost, value)


def no_gain(accuracies: Sequence[float], patience: int, min_gain: float) -> str | None:
    """Return a reason to stop if none of the last rounds improves on the best one before them, else None.

    Args:
        accuracies: Test accuracies of all rounds so far.
        patience: How many of the last rounds to look at, at least 1.
        min_gain: One of them must exceed the best one before them by more than this.
    """
    if len(accuracies) <= patience:
        return None
    best = max(accuracies[:-patience])
    if max(accuracies[-patience:]) > best + min_gain:
        return None
    rounds = "round" if patience == 1 else f"{patience} rounds"
    return f"no gain in the last {rounds} over {best:.4f} in round {accuracies.index(best)}"


def as_accuracy(text: str | float) -> float:
    """Return an accuracy in (0, 1]."""
    accuracy = _number(text)
    if not 0.0 < accuracy <= 1.0:
        raise ValueError("give a fraction above 0 and at most 1, for example 0.95")
    return accuracy


def as_rounds(text: str | int) -> int:
    """Return a number of rounds, at least 1."""
    rounds = _number(text)
    if not (1 <= rounds < math.inf and rounds == int(rounds)):
        raise ValueError("give a whole number of at least 1")
    return int(rounds)


def as_gain(text: str | float) -> float:
    """Return a gain in [0, 1)."""
    gain = _number(text)
    if not 0.0 <= gain < 1.0:
        raise ValueError("give a fraction of at least 0 and below 1, for example 0.001")
    return gain


def as_source(text: str) -> str:
    """Return ``test`` or ``audit``."""
    if text not in ("test", "audit"):
        raise ValueError("give test or audit")
    return text


def as_amount(text: str | float) -> float:
    """Return an amount, at least 0."""
    amount = _number(text)
    if not 0 <= amount < math.inf:
        raise ValueError("give an amount of at least 0")
    return amount


def _number(text: str | float) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("give a number") from None
