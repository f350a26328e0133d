"""How many labels a strategy needs to reach the final accuracy of random sampling."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from deepal_autoal.experiment.results import Results

BASELINE = "random"


@dataclass(frozen=True)
class LabelSaving:
    """Labels needed to reach the baseline's final accuracy, over the seeds that both have.

    Attributes:
        dataset: The dataset's label.
        strategy: The strategy's label.
        n_seeds: Number of seeds.
        n_reached: Number of seeds on which it was reached.
        labels: Median over seeds of the labels needed; a seed on which it was not reached counts as infinite. None if
            the median is infinite.
        share: The same median of the labels needed divided by the baseline's final number of labels: 0.7 saves 30%.
    """

    dataset: str
    strategy: str
    n_seeds: int
    n_reached: int
    labels: float | None
    share: float | None


def label_savings(results: Results, baseline: str = BASELINE) -> list[LabelSaving]:
    """Return the labels each strategy needs on each dataset, the baseline's included, sorted by dataset and strategy.

    The aim is the baseline's accuracy after its last round with the same seed. A curve is noisy, and passes any level
    earlier than its trend: what the baseline seems to save over itself is due to that alone, so compare the other
    strategies' figures with it.

    Args:
        results: Finished runs; datasets without the baseline are skipped.
        baseline: The strategy whose final accuracy is the aim.
    """
    savings = []
    for dataset in results.datasets:
        runs = results.on(dataset)
        base = runs.get(baseline, {})
        for strategy, by_seed in runs.items():
            seeds = [seed for seed in by_seed if seed in base]
            if not seeds:
                continue
            needed = [
                labels_to_reach(by_seed[seed].n_labeled, by_seed[seed].accuracy, base[seed].final_accuracy)
                for seed in seeds
            ]
            labels = [math.inf if count is None else count for count in needed]
            shares = [count / base[seed].n_labeled[-1] for count, seed in zip(labels, seeds, strict=True)]
            n_reached = sum(count is not None for count in needed)
            savings.append(LabelSaving(dataset, strategy, len(seeds), n_reached, _median(labels), _median(shares)))
    return savings


def labels_to_reach(n_labeled: Sequence[int], accuracy: Sequence[float], aim: float) -> float | None:
    """Return the number of labels at which a learning curve first reaches an accuracy.

    Accuracy is interpolated linearly between rounds. If the curve starts at or above the aim, its initial number of
    labels is returned.

    Args:
        n_labeled: Labeled samples at each round, ascending.
        accuracy: Test accuracy at each round.
        aim: The accuracy to reach.

    Returns:
        None if it is never reached.
    """
    if accuracy[0] >= aim:
        return float(n_labeled[0])
    for place in range(1, len(accuracy)):
        if accuracy[place] >= aim:
            low, high = accuracy[place - 1], accuracy[place]
            step = n_labeled[place] - n_labeled[place - 1]
            return n_labeled[place - 1] + step * (aim - low) / (high - low)
    return None


def _median(values: Sequence[float]) -> float | None:
    median = statistics.median(values)
    return median if math.isfinite(median) else None
