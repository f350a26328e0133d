"""Defines the bar that a task model must reach against scikit-learn's best, on each data set and number of labels."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rows import Row

from deepal_autoal.statistics import Difference, compare

# Accuracy may be below scikit-learn's best by at most this, in points.
MOST_BEHIND = 1.0
# Negative log-likelihood and seconds may be at most these multiples of logistic regression's.
NLL_FACTOR, SECONDS_FACTOR = 1.05, 1.5
SKLEARN = "sk-"
LOGISTIC = "sk-logistic"
# Averages of decimals that are mathematically equal differ by less than this in floating point.
ROUNDING = 1e-9

# Rows by seed, by model, by data set and number of labels.
BySeed = Mapping[int, Row]
Cases = Mapping[tuple[str, int], Mapping[str, BySeed]]


@dataclass(frozen=True)
class Verdict:
    """The result of a task model on one data set and number of labels, over the seeds shared with the other model.

    Attributes:
        dataset, per_class: Data set and labels a class.
        best: scikit-learn's model with the highest mean accuracy; the fastest if there are several.
        best_accuracy, accuracy: Mean accuracies in [0, 1] of that model and of ours.
        difference: Accuracy of ours minus the best one's, in [-1, 1].
        nll_ratio: Mean negative log-likelihood divided by that of logistic regression with the better scaling; below 1
            ours is better.
        reference_seconds, seconds: Median seconds of logistic regression with the faster scaling, and of ours.
    """

    dataset: str
    per_class: int
    best: str
    best_accuracy: float
    accuracy: float
    difference: Difference
    nll_ratio: float
    reference_seconds: float
    seconds: float

    @property
    def seconds_ratio(self) -> float:
        """Seconds divided by those of logistic regression."""
        return self.seconds / self.reference_seconds

    @property
    def is_accurate(self) -> bool:
        """Whether the accuracy reaches the bar."""
        return 100 * self.difference.mean >= -MOST_BEHIND - ROUNDING

    @property
    def is_likely(self) -> bool:
        """Whether the negative log-likelihood reaches the bar; True where logistic regression was not measured."""
        return math.isnan(self.reference_seconds) or self.nll_ratio <= NLL_FACTOR + ROUNDING

    @property
    def is_fast(self) -> bool:
        """Whether the time reaches the bar; True where logistic regression was not measured."""
        return math.isnan(self.reference_seconds) or self.seconds_ratio <= SECONDS_FACTOR + ROUNDING


def cases_of(rows: Iterable[Row], part: str) -> dict[tuple[str, int], dict[str, dict[int, Row]]]:
    """Return a part's rows by data set and number of labels, model and seed, in their original order."""
    found: dict[tuple[str, int], dict[str, dict[int, Row]]] = {}
    for row in rows:
        if row.part == part:
            case = found.setdefault((row.dataset, row.per_class), {})
            case.setdefault(row.model, {})[row.seed] = row
    return found


def judge(case: tuple[str, int], by_model: Mapping[str, BySeed], ours: str) -> Verdict | None:
    """Return a model's verdict; None if it has no seed in common with any of scikit-learn's models."""
    own = by_model.get(ours, {})
    others = {name: common(rows, own) for name, rows in by_model.items() if name.startswith(SKLEARN)}
    others = {name: rows for name, rows in others.items() if rows}
    if not others:
        return None
    # Only models with the most seeds: a single lucky seed must not make a model the best.
    most = max(map(len, others.values()))
    complete = {name: rows for name, rows in others.items() if len(rows) == most}
    best = max(complete, key=lambda name: (round(mean_accuracy(complete[name]), 9), -median_seconds(complete[name])))
    mine = [own[row.seed] for row in complete[best]]
    difference = compare({row.seed: row.accuracy for row in mine}, {row.seed: row.accuracy for row in complete[best]})
    assert difference is not None
    return Verdict(
        *case, best, mean_accuracy(complete[best]), mean_accuracy(mine), difference, nll_ratio(own, complete),
        reference_seconds(complete), median_seconds(mine),
    )  # fmt: skip


def common(rows: BySeed, own: BySeed) -> list[Row]:
    return [row for seed, row in sorted(rows.items()) if seed in own]


def mean_accuracy(rows: Sequence[Row]) -> float:
    return statistics.fmean(row.accuracy for row in rows)


def median_seconds(rows: Sequence[Row]) -> float:
    return statistics.median(row.seconds for row in rows)


def reference_seconds(others: Mapping[str, Sequence[Row]]) -> float:
    """Return the median seconds of the faster logistic regression; NaN if there is none."""
    return min((median_seconds(rows) for name, rows in others.items() if name.startswith(LOGISTIC)), default=math.nan)


def nll_ratio(own: BySeed, others: Mapping[str, Sequence[Row]]) -> float:
    """Return our mean negative log-likelihood over the lower of the logistic regressions'; NaN if there are none."""
    ratios = []
    for name, rows in others.items():
        if name.startswith(LOGISTIC):
            pairs = [(own[row.seed].nll, row.nll) for row in rows]
            mine, theirs = (statistics.fmean(float("nan") if value is None else value for value in values)
                            for values in zip(*pairs, strict=True))  # fmt: skip
            ratios.append(mine / max(theirs, ROUNDING))
    return max(ratios, default=float("nan"))
