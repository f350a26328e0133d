"""Lists the figures of a report with their titles and reading notes; all of them are drawn here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deepal_autoal.report import figures
from deepal_autoal.report.first_images import first_pictures
from deepal_autoal.report.report_data import Contents
from deepal_autoal.report.style import Style, assign_styles
from deepal_autoal.statistics.times import REFERENCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNIFORM = 1e-6
# Percentile intervals of five values contain the true mean in about 85 of 100 cases, not in 95.
FEW_SEEDS = "With few seeds these intervals are too narrow: the tests, p (Holm), decide what counts as a difference."


@dataclass(frozen=True)
class Drawing:
    """A figure with its text.

    Attributes:
        kind: The kind of figure.
        title: What it shows.
        how_to_read: How to read it, in a sentence or two.
        source: Where its numbers come from.
        figure: The figure.
    """

    kind: str
    title: str
    how_to_read: str
    source: str
    figure: Figure

    @property
    def name(self) -> str:
        """The figure's id, also the name of its files."""
        return str(self.figure.get_gid())

    @cached_property
    def svg(self) -> str:
        """The figure as an ``svg`` element for a page."""
        return figures.to_svg(self.figure, self.title, self.how_to_read)


class Drawings:
    """Draws the figures of a report.

    Args:
        contents: The report's contents.
        echo: Called with a progress line for each dataset.

    Attributes:
        contents: As given.
    """

    def __init__(self, contents: Contents, echo: Callable[[str], None] | None = None) -> None:
        self.contents = contents
        self._drawn: dict[str, list[Drawing]] = {}
        self._study = contents.study
        self._echo = echo
        self._notes: dict[str, list[str]] = {}

    @cached_property
    def styles(self) -> dict[str, Style]:
        """The style of each strategy, and of each candidate with weights."""
        candidates = {
            name
            for dataset in self.contents.by_dataset
            for by_seed in self._study.weights(dataset).values()
            for rounds in by_seed.values()
            for weights in rounds
            for name in weights or ()
        }
        return assign_styles([*self._study.strategies, *sorted(candidates)])

    def of(self, dataset: str) -> list[Drawing]:
        """Return a dataset's figures in reading order."""
        if dataset not in self._drawn:
            if self._echo is not None:
                self._echo(f"drawing {dataset}")
            self._notes[dataset] = []
            self._drawn[dataset] = list(self._of(dataset))
        return self._drawn[dataset]

    def notes(self, dataset: str) -> list[str]:
        """Return why figures of a dataset are missing; call `of` first."""
        return self._notes[dataset]

    def over_datasets(self) -> list[Drawing]:
        """Return the figures over all datasets."""
        found = []
        matrix = self.contents.penalties
        if matrix.order:
            found.append(
                Drawing(
                    "penalties", "Who beats whom",
                    "A cell says how often the strategy of its row beats that of its column: the share of rounds at "
                    "which a paired t-test says so, summed over datasets. Dark rows are strong, dark columns are "
                    "weak.",
                    "accuracy at each n_labeled of results.csv",
                    figures.penalty_heat_map(matrix, self.styles),
                )
            )  # fmt: skip
        ranking = self.contents.ranking
        if ranking is not None and len(ranking.strategies) > 1:
            found.append(
                Drawing(
                    "critical-difference", "Mean ranks over datasets",
                    "Closer to rank 1 is better. A bar joins strategies that no test over datasets distinguishes "
                    "(Wilcoxon's with Holm's correction, after Friedman's).",
                    "the AUBC of each dataset, strategy and seed, by accuracy over n_labeled of results.csv",
                    figures.critical_difference(ranking, self.styles),
                )
            )  # fmt: skip
        return found

    def _of(self, dataset: str) -> Iterator[Drawing]:
        compared = self.contents.compared
        results, styles, base = self._study.results, self.styles, self.contents.baseline
        own = self.contents.by_dataset[dataset]
        is_compared = base in own.runs and len(own.to_baseline) > 0
        if is_compared:
            yield Drawing(
                "deltas", f"Better than {base}?",
                f"Each strategy's AUBC minus {base}'s for the same seed: the mean and its 95% interval. A filled "
                f"marker means that the paired test finds a difference. {FEW_SEEDS}",
                "the AUBC of each strategy and seed, by accuracy over n_labeled of results.csv",
                figures.deltas(compared, dataset, styles, baseline=base),
            )  # fmt: skip
        elif base not in own.runs:
            self._notes[dataset].append(f"Differences to {base} are not drawn: it was not run on {dataset}.")
        yield Drawing(
            "learning-curves", "Learning curves",
            "Test accuracy against labels bought: a curve that rises earlier needs fewer labels. Bands are 95% "
            "intervals of each curve's own mean over seeds and say little about two curves: differences on the same "
            f"seeds {'are in the figure above' if is_compared else 'are tested in the tables below'}. {FEW_SEEDS}",
            "accuracy at each n_labeled of results.csv",
            figures.learning_curves(results, dataset, styles),
        )  # fmt: skip
        if any(run.total_seconds > 0 for by_seed in compared.on(dataset).values() for run in by_seed.values()):
            unit = f"in units of {REFERENCE}'s" if REFERENCE in own.runs else "in seconds a run"
            yield Drawing(
                "time-against-accuracy", "Time against accuracy",
                f"Whole runs, {unit}, against AUBC. Up is more accurate, left is faster; a strategy with another one "
                "above and to the left of it is slower and no better on average here. The accuracy table says which "
                "differences are more than chance.",
                "train_s and query_s of results.csv, with seconds.evaluate of rounds.jsonl where there are run folders",
                figures.time_against_accuracy(compared, dataset, styles),
            )  # fmt: skip
        for label, by_seed in self._study.weights(dataset).items():
            if _is_uniform(by_seed.values()):
                continue  # equal weights for all candidates show nothing
            yield Drawing(
                "candidate-weights", f"What {label} trusted",
                f"The weights that {label} gave its candidates at each round, mean over seeds with 95% intervals; the "
                "dashed line is where all weights would be equal.",
                "strategy.weights in the run folders' rounds.jsonl",
                figures.candidate_weights(_weights(list(by_seed.values())), label, dataset, styles),
            )  # fmt: skip
        pictures, seed, note = first_pictures(self._study, dataset)
        if note is not None:
            self._notes[dataset].append(note)
        elif pictures:
            yield Drawing(
                "first-picks", "What was picked first",
                f"The first samples that each strategy selected after the initial round, seed {seed}, in the order in "
                "which it returned them. All strategies that do not change training saw the same model and pool.",
                "queried of round 0 in the run folders' rounds.jsonl; the images of the recorded dataset",
                figures.first_picks(pictures, dataset, styles, seed=seed),
            )  # fmt: skip


def _is_uniform(by_seed: Iterable[Sequence[Mapping[str, float] | None]]) -> bool:
    return all(
        max(weights.values()) - min(weights.values()) < UNIFORM for rounds in by_seed for weights in rounds if weights
    )


def _weights(by_seed: Sequence[Sequence[Mapping[str, float] | None]]) -> dict[str, npt.NDArray[np.float64]]:
    """Return (seeds, rounds) for each candidate, up to the last round with weights; NaN where there is no weight."""
    n_rounds = 1 + max(
        number for rounds in by_seed for number, weights in enumerate(rounds) if weights is not None
    )  # fmt: skip
    names = dict.fromkeys(name for rounds in by_seed for weights in rounds for name in weights or ())
    table = {name: np.full((len(by_seed), n_rounds), np.nan) for name in names}
    for place, rounds in enumerate(by_seed):
        for number, weights in enumerate(rounds):
            for name, value in (weights or {}).items():
                table[name][place, number] = value
    return table
