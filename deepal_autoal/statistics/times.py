"""Times relative to those of a reference strategy, as in AutoAL's Table 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deepal_autoal.experiment.results import FinishedRun
from deepal_autoal.statistics.paired import BySeed

# The label whose runs are the unit of time.
REFERENCE = "entropy"


@dataclass(frozen=True)
class PhaseTimes:
    """A strategy's seconds in units of the reference's on the same seeds, summed over whole runs.

    Each is None if there is nothing to compare with: no reference, no seed in common with it, or a phase that is not
    recorded (evaluation in results.csv) or took the reference no time.

    Attributes:
        train: Training.
        evaluate: Evaluation on the test set.
        query: Choosing batches.
        total: All recorded phases.
    """

    train: float | None
    evaluate: float | None
    query: float | None
    total: float | None


def relative_phase_times(
    runs: Mapping[str, Mapping[int, FinishedRun]], reference: str = REFERENCE
) -> dict[str, PhaseTimes]:
    """Return each strategy's times in units of the reference's.

    Args:
        runs: A dataset's runs by strategy and seed (see `Results.on`).
        reference: The strategy whose times are 1.
    """

    def relative(phase: str) -> dict[str, float | None]:
        seconds: dict[str, dict[int, float]] = {name: {} for name in runs}
        for name, by_seed in runs.items():
            for seed, run in by_seed.items():
                value = run.phase_seconds(phase)
                if value is not None:
                    seconds[name][seed] = value
        return relative_times(seconds, reference)

    train, evaluate, query = (relative(phase) for phase in ("train", "evaluate", "query"))
    totals = {name: {seed: run.total_seconds for seed, run in by_seed.items()} for name, by_seed in runs.items()}
    total = relative_times(totals, reference)
    return {name: PhaseTimes(train[name], evaluate[name], query[name], total[name]) for name in runs}


def relative_times(seconds: Mapping[str, BySeed], reference: str) -> dict[str, float | None]:
    """Return the seconds of each strategy's runs in units of the reference's on the same seeds.

    None if the reference or a seed in common with it is missing, or the reference took no time.
    """
    base = seconds.get(reference, {})
    relative: dict[str, float | None] = {}
    for name, own in seconds.items():
        common = [seed for seed in own if seed in base]
        unit = sum(base[seed] for seed in common)
        relative[name] = sum(own[seed] for seed in common) / unit if unit else None
    return relative
