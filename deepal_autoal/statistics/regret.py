"""Regret: by how much a strategy stays below an oracle. Oracles are no strategies: no other statistic counts them."""

from __future__ import annotations

from dataclasses import dataclass

from deepal_autoal.experiment.results import Results
from deepal_autoal.plugins.registry import is_oracle
from deepal_autoal.statistics.paired import Difference, compare


@dataclass(frozen=True)
class Regret:
    """A strategy's regret to an oracle on a dataset.

    Attributes:
        dataset: The dataset's label.
        strategy: The strategy's label; also another oracle's.
        oracle: The oracle's label.
        difference: The oracle's AUBC minus the strategy's, over the seeds that both have; above 0, the oracle is
            better. An oracle looks one round ahead and chooses by other samples than the test set's, so it may be
            below 0.
    """

    dataset: str
    strategy: str
    oracle: str
    difference: Difference


def find_regrets(results: Results) -> list[Regret]:
    """Return each strategy's regret to each oracle, sorted by dataset, strategy and oracle."""
    found = []
    for dataset in results.datasets:
        areas = results.areas(dataset)
        for strategy, own in areas.items():
            for oracle in filter(is_oracle, areas):
                difference = compare(areas[oracle], own) if oracle != strategy else None
                if difference is not None:
                    found.append(Regret(dataset, strategy, oracle, difference))
    return found


def without_oracles(results: Results) -> Results:
    """Return the runs of strategies, which alone are compared, ranked and tested."""
    return Results(tuple(run for run in results.runs if not is_oracle(run.strategy)))
