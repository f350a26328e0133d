"""Warnings that a reader of a benchmark's numbers needs, as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deepal_autoal.experiment.results import FinishedRun, Results
from deepal_autoal.statistics.paired import MIN_SEEDS, compare_to
from deepal_autoal.statistics.savings import BASELINE

# Enough seeds for a claim; a claim from three seeds can be reversed by more.
ENOUGH_SEEDS = 10

Kind = Literal["too-few-seeds", "few-seeds", "unequal-seeds", "unequal-labels", "no-baseline", "like-baseline"]


@dataclass(frozen=True)
class Caution:
    """A warning about some strategies on a dataset.

    Attributes:
        kind: ``too-few-seeds`` (below 5: no test is possible), ``few-seeds`` (below 10: claims are weak),
            ``unequal-seeds`` (they lack seeds that others have), ``unequal-labels`` (their label counts per round
            differ from those of most runs, or between their seeds), ``no-baseline`` (random sampling was not run),
            ``like-baseline`` (AUBC does not differ significantly from random sampling's).
        dataset: The dataset's label.
        strategies: The strategies' labels, sorted.
        message: The warning in a sentence or two.
    """

    kind: Kind
    dataset: str
    strategies: tuple[str, ...]
    message: str


def find_cautions(results: Results, baseline: str = BASELINE) -> list[Caution]:
    """Return the warnings about each dataset's runs, dataset by dataset.

    Args:
        results: Finished runs.
        baseline: The strategy that others should beat. Differences in AUBC are tested over the seeds that both have,
            if there are at least five, with Holm's correction over the dataset's comparisons to the baseline.
    """
    return [caution for dataset in results.datasets for caution in _on(dataset, results, baseline)]


def _on(dataset: str, results: Results, baseline: str) -> Iterator[Caution]:
    runs = results.on(dataset)
    yield from _seeds(dataset, runs)
    yield from _labels(dataset, runs)
    if baseline not in runs:
        message = f"{baseline} was not run on {dataset}: nothing shows whether any strategy beats chance."
        yield Caution("no-baseline", dataset, tuple(runs), message)
    alike = tuple(
        comparison.ours
        for comparison in compare_to(results.areas(dataset), baseline)
        if comparison.winner is None and comparison.difference.n_seeds >= MIN_SEEDS
    )
    if alike:
        message = f"Not distinguishable from {baseline} on {dataset} by AUBC: {', '.join(alike)}."
        yield Caution("like-baseline", dataset, alike, message)


def _seeds(dataset: str, runs: Mapping[str, Mapping[int, FinishedRun]]) -> Iterator[Caution]:
    few = tuple(name for name, by_seed in runs.items() if len(by_seed) < MIN_SEEDS)
    if few:
        message = f"Too few seeds on {dataset} for any test (below {MIN_SEEDS}): {_counted(few, runs)}."
        yield Caution("too-few-seeds", dataset, few, message)
    some = tuple(name for name, by_seed in runs.items() if MIN_SEEDS <= len(by_seed) < ENOUGH_SEEDS)
    if some:
        message = f"Few seeds on {dataset}; claims are weak below {ENOUGH_SEEDS}: {_counted(some, runs)}."
        yield Caution("few-seeds", dataset, some, message)
    every = {seed for by_seed in runs.values() for seed in by_seed}
    lacking = tuple(name for name, by_seed in runs.items() if set(by_seed) != every)
    if lacking:
        message = f"Unequal seeds on {dataset}; two strategies are compared on the seeds that both have. Missing: " + (
            "; ".join(f"{name} {_join(sorted(every - set(runs[name])))}" for name in lacking) + "."
        )
        yield Caution("unequal-seeds", dataset, lacking, message)


def _labels(dataset: str, runs: Mapping[str, Mapping[int, FinishedRun]]) -> Iterator[Caution]:
    counts = Counter(run.n_labeled for by_seed in runs.values() for run in by_seed.values())
    # The most frequent one; among equals, the longest, then the largest.
    usual = max(counts, key=lambda labels: (counts[labels], len(labels), labels))
    other = tuple(
        name for name, by_seed in runs.items() if any(run.n_labeled != usual for run in by_seed.values())
    )  # fmt: skip
    if other:
        message = (
            f"Unequal label counts on {dataset}; AUBC and final accuracy of {', '.join(other)} are not for the same "
            f"budget as the others' ({usual[0]} to {usual[-1]} labels)."
        )
        yield Caution("unequal-labels", dataset, other, message)


def _counted(names: Sequence[str], runs: Mapping[str, Mapping[int, FinishedRun]]) -> str:
    """Return the names grouped by number of seeds: ``3 (badge, random), 4 (margin)``."""
    by_count: dict[int, list[str]] = {}
    for name in names:
        by_count.setdefault(len(runs[name]), []).append(name)
    return ", ".join(f"{count} ({', '.join(by_count[count])})" for count in sorted(by_count))


def _join(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
