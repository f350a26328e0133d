"""Advice on which strategies suit some data, model, budget and machine, from their cards alone.

How it works: a strategy that the model or the machine cannot run is left out. The others are ranked by what studies
measured at about as many labels a class: in each study a strategy's distance to the best one there, then the mean over
the studies. Distances, not gains over ``random``, because a study on easy data has larger gains for all. Nothing here
knows a strategy by name; a plugin's card with ``measured`` takes part like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from deepal_autoal.plugins.cost_formulas import evaluate_cost, symbols_of
from deepal_autoal.plugins.registry import Entry

TRY, BASELINE, SUITED, UNMEASURED, POOR, UNABLE = (
    "try first", "baseline", "above random", "not measured at this budget", "below random", "cannot run here",
)  # fmt: skip
VERDICTS = (TRY, BASELINE, SUITED, UNMEASURED, POOR, UNABLE)
MEANINGS = {
    TRY: "nearest to the best strategy in our studies with about as many labels a class",
    BASELINE: "always run it too",
    SUITED: "above random in the mean of these studies",
    UNMEASURED: "no study of ours says anything; what its card says",
    POOR: "below random in the mean of these studies",
    UNABLE: "",
}

# Labels a class in the middle of the budget from which on labels are no longer few, and from which on they are many:
# between our studies with 12 to 20, 30 to 60, and 175.
_REGIMES = ((25.0, "few labels"), (100.0, "a medium budget"), (float("inf"), "many labels"))
# Percentage points: closer to the best is not distinguishable with the studies' five to ten seeds.
_LIKE_BEST = 0.5
_MOST_TRIED = 5
# Multiplications a second, for orders of magnitude: two CPU cores, one GPU.
_SPEED = {"cpu": 2e10, "cuda": 5e12}
_NOTED_SECONDS = 60.0
_BYTES_PER_NUMBER = 4
_LARGEST_SHARE = 0.5
# Sizes that only a strategy's options know.
_USUAL = {"T": 10, "M": 5, "K": 7, "E": 50, "fit": 0, "sweep": 0, "ask": 0}


@dataclass(frozen=True)
class Situation:
    """What strategies are to be used on.

    Attributes:
        pool: Samples in the pool.
        classes: Number of classes.
        initial, batch_size, rounds: The budget.
        inputs: Numbers in one input.
        dim: Embedding dimensions.
        device: ``"cpu"`` or ``"cuda"``.
        memory: The machine's memory in bytes.
        data, model: Their names; empty if they are not known.
        assumed: What of these was assumed.
        unable: Why strategies cannot run, by name.
    """

    pool: int
    classes: int
    initial: int
    batch_size: int
    rounds: int
    inputs: int
    dim: int
    device: str
    memory: float
    data: str = ""
    model: str = ""
    assumed: tuple[str, ...] = ()
    unable: Mapping[str, str] = field(default_factory=dict)

    @property
    def final(self) -> int:
        """Labels at the end."""
        return min(self.pool, self.initial + self.batch_size * self.rounds)

    @property
    def regime(self) -> str:
        """How many labels these are, in words."""
        return _regime(self.initial, self.final, self.classes)

    def sizes(self) -> dict[str, int]:
        """Return the values of a cost formula's symbols, in the middle of the budget."""
        labeled = max(1, (self.initial + self.final) // 2)
        own = {"N": max(1, self.pool - labeled), "L": labeled, "b": self.batch_size, "C": self.classes,
               "D": self.dim, "P": self.inputs}  # fmt: skip
        return {**_USUAL, **own}


@dataclass(frozen=True)
class Advice:
    """What is said about a strategy.

    Attributes:
        name: The strategy.
        verdict: One of `VERDICTS`.
        behind_best: Mean distance to the best strategy of each study, in points of AUBC; None if not measured.
        above_random: Mean gain over ``random`` in these studies, in points; likewise.
        studies: Their names.
        seconds: Order of magnitude of a query beyond what all strategies share, without trainings; by the card.
        reasons: Sentences.
    """

    name: str
    verdict: str
    behind_best: float | None
    above_random: float | None
    studies: tuple[str, ...]
    seconds: float | None
    reasons: tuple[str, ...]


def advise(entries: Iterable[Entry], situation: Situation) -> list[Advice]:
    """Return advice on strategies, the best suited first.

    Args:
        entries: All registered strategies; the best of a study is one of them.
        situation: What they are to be used on.
    """
    entries = list(entries)
    points = {entry.name: _points(entry, situation) for entry in entries}
    best: dict[str, float] = {}
    for found in points.values():
        for study, value in found.items():
            best[study] = max(value, best.get(study, value))
    behind = {
        name: fmean(best[study] - value for study, value in found.items()) for name, found in points.items() if found
    }
    unable = {entry.name: _why_unable(entry, situation) for entry in entries}
    # Of one lucky study nothing follows.
    widely = sorted((value, name) for name, value in behind.items()
                    if not unable[name] and 2 * len(points[name]) >= len(best))  # fmt: skip
    tried = {name for value, name in widely[:_MOST_TRIED] if value <= widely[0][0] + _LIKE_BEST}
    advice = []
    for entry in entries:
        name, found = entry.name, points[entry.name]
        above = fmean(found.values()) if found else None
        if unable[name]:
            verdict = UNABLE
        elif entry.details["family"] == "control" and "ask" not in _symbols(entry):
            verdict = BASELINE
        elif above is None:
            verdict = UNMEASURED
        else:
            verdict = POOR if above < 0 else TRY if name in tried else SUITED
        reasons = [unable[name]] if unable[name] else list(_reasons(entry, found, situation))
        advice.append(
            Advice(name, verdict, behind.get(name), above, tuple(found), _seconds(entry, situation), tuple(reasons))
        )
    return sorted(advice, key=lambda item: (VERDICTS.index(item.verdict), item.behind_best or 0.0, item.name))


def _points(entry: Entry, situation: Situation) -> dict[str, float]:
    """Return what studies with about as many labels found: points above random by study."""
    return {
        item["study"]: item["points"]
        for item in entry.details["measured"]
        if _regime(item["initial"], item["final"], item["classes"]) == situation.regime
    }


def _regime(initial: int, final: int, classes: int) -> str:
    middle = (initial + final) / 2 / classes
    return next(name for limit, name in _REGIMES if middle < limit)


def _why_unable(entry: Entry, situation: Situation) -> str:
    if entry.name in situation.unable:
        return situation.unable[entry.name]
    needed = _BYTES_PER_NUMBER * _evaluated(entry.details["memory"], situation)
    if needed > _LARGEST_SHARE * situation.memory:
        return (
            f"A query needs about {needed / 2**30:.0f} GiB by its card, and this machine has "
            f"{situation.memory / 2**30:.0f} GiB."
        )
    return ""


def _evaluated(formula: str, situation: Situation) -> int:
    return evaluate_cost(formula, situation.sizes()) if formula else 0


def _symbols(entry: Entry) -> frozenset[str]:
    """Return the symbols in the card's time."""
    time: str = entry.details["time"]
    return symbols_of(time) if time else frozenset()


def _seconds(entry: Entry, situation: Situation) -> float | None:
    if not entry.details["time"]:
        return None
    return _evaluated(entry.details["time"], situation) / _SPEED[situation.device]


def _reasons(entry: Entry, found: Mapping[str, float], situation: Situation) -> Iterable[str]:
    card: Mapping[str, Any] = entry.details
    if card["use"]:
        yield card["use"]
    if found:
        yield "AUBC minus random's: " + ", ".join(f"{value:+.2f} on {study}" for study, value in found.items()) + "."
    symbols = _symbols(entry)
    if "fit" in symbols:
        yield "It trains models in every query."
    if "ask" in symbols:
        yield "It asks all its candidates in every query."
    seconds = _seconds(entry, situation)
    if seconds is not None and seconds > _NOTED_SECONDS:
        minutes = seconds / 60
        yield (
            f"A query takes about {minutes:,.0f} minute{'' if round(minutes) == 1 else 's'} by its card, give or take "
            "a factor of ten."
        )
    if card["changes_training"]:
        yield "It changes training, so compare accuracies with care."
    if card["requires"] and not situation.model:
        yield f"The model must have: {', '.join(sorted(card['requires']))}."
