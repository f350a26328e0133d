"""Stop a run early: at a target accuracy, or when further labels bring no gain."""

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
    """Add ``--target-accuracy``, ``--patience`` and ``--min-gain``."""
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


@hookimpl
def deepal_run_started(run: ActiveRun) -> None:
    """Warn if an option has no effect."""
    if run.options["min-gain"] is not None and run.options["patience"] is None:
        logger.warning("--min-gain has no effect without --patience")


@hookimpl
def deepal_should_stop(run: ActiveRun) -> str | None:
    """Return the reason to stop, or None."""
    accuracies = [record["accuracy"] for record in run.records] + [run.metrics["accuracy"]]
    target, patience = run.options["target-accuracy"], run.options["patience"]
    if target is not None and accuracies[-1] >= target:
        return f"test accuracy {accuracies[-1]:.4f} reaches the target {target:g}"
    if patience is not None:
        return no_gain(accuracies, patience, run.options["min-gain"] or 0.0)
    return None


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


def _number(text: str | float) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("give a number") from None
