"""A benchmark's tables, made of the run folders that lie in its folder: results.csv and summary.csv."""

from __future__ import annotations

import csv
import io
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepal_autoal.benchmark.comparison import bootstrap_interval, relative_times, wins_ties_losses
from deepal_autoal.errors import RunFolderError
from deepal_autoal.files import write_bytes
from deepal_autoal.records import CONFIG, SUMMARY, area_under_budget_curve, read_rounds, total_seconds

RESULTS, TABLE_OF_STRATEGIES = "results.csv", "summary.csv"
RESULT_COLUMNS = ("dataset", "strategy", "seed", "round", "n_labeled", "accuracy", "train_s", "query_s")
SUMMARY_COLUMNS = (
    "dataset", "strategy", "aubc_mean", "aubc_std", "aubc_low", "aubc_high", "final_accuracy_mean", "wins", "ties",
    "losses", "relative_time",
)  # fmt: skip
# The label whose runs are the unit of time, as in AutoAL's Table 2.
TIME_REFERENCE = "entropy"

_SEED_FOLDER = re.compile(r"seed-(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class FinishedRun:
    """A complete run of a benchmark.

    Attributes:
        dataset: The dataset's label.
        strategy: The strategy's label.
        seed: The seed.
        rounds: The records of its rounds.
    """

    dataset: str
    strategy: str
    seed: int
    rounds: Sequence[Mapping[str, Any]]

    @property
    def aubc(self) -> float:
        """Area under the budget curve, in [0, 1]."""
        return area_under_budget_curve(
            [record["n_labeled"] for record in self.rounds], [record["accuracy"] for record in self.rounds]
        )

    @property
    def final_accuracy(self) -> float:
        """Test accuracy after the last round, in [0, 1]."""
        return float(self.rounds[-1]["accuracy"])

    @property
    def seconds(self) -> float:
        """Training, evaluation and queries of all rounds."""
        return total_seconds(self.rounds)


class Tables:
    """The tables of a benchmark's folder.

    Args:
        out: The benchmark's folder.

    Raises:
        RunFolderError: If a finished run there is damaged, or a file bears a table's name and is none.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._runs: dict[Path, FinishedRun] = {}
        for name, columns in ((RESULTS, RESULT_COLUMNS), (TABLE_OF_STRATEGIES, SUMMARY_COLUMNS)):
            _refuse_foreign(out / name, columns)
        self.read()

    @property
    def runs(self) -> list[FinishedRun]:
        """The finished runs by dataset, strategy and seed."""
        return sorted(self._runs.values(), key=lambda run: (run.dataset, run.strategy, run.seed))

    def read(self) -> None:
        """Take in the runs that finished since the last time, whoever finished them."""
        for folder in run_folders(self._out):
            if folder not in self._runs and (folder / SUMMARY).exists():
                rounds = read_rounds(folder)
                if not rounds:
                    raise RunFolderError(f"{folder} is damaged: it is finished but holds no rounds; remove it")
                seed = int(folder.name.partition("-")[2])
                self._runs[folder] = FinishedRun(folder.parent.parent.name, folder.parent.name, seed, rounds)

    def summary(self) -> list[dict[str, Any]]:
        """Return a row for each dataset and strategy, by the columns of summary.csv; None where there is no value."""
        runs = self.runs
        rows = []
        for dataset in dict.fromkeys(run.dataset for run in runs):
            rows += _summarize(dataset, [run for run in runs if run.dataset == dataset])
        return rows

    def write(self) -> None:
        """Read what is new and replace both files, each atomically.

        Raises:
            RunFolderError: If they cannot be written.
        """
        self.read()
        results = (_result_row(run, record) for run in self.runs for record in run.rounds)
        write_bytes(self._out / RESULTS, _csv(RESULT_COLUMNS, results))
        write_bytes(self._out / TABLE_OF_STRATEGIES, _csv(SUMMARY_COLUMNS, self.summary()))


def run_folders(out: Path, dataset: str = "*") -> list[Path]:
    """Return the folders of a benchmark's runs, finished or not, sorted."""
    return sorted(
        folder
        for folder in out.glob(f"{dataset}/*/seed-*")
        if _SEED_FOLDER.fullmatch(folder.name) and (folder / CONFIG).exists()
    )


def _summarize(dataset: str, runs: Sequence[FinishedRun]) -> list[dict[str, Any]]:
    areas: dict[str, dict[int, float]] = {}
    seconds: dict[str, dict[int, float]] = {}
    finals: dict[str, list[float]] = {}
    for run in runs:
        areas.setdefault(run.strategy, {})[run.seed] = run.aubc
        seconds.setdefault(run.strategy, {})[run.seed] = run.seconds
        finals.setdefault(run.strategy, []).append(run.final_accuracy)
    counts = wins_ties_losses(areas)
    times = relative_times(seconds, TIME_REFERENCE)
    rows = []
    for strategy, by_seed in areas.items():
        values = list(by_seed.values())
        mean = statistics.fmean(values)
        low, high = bootstrap_interval(values)
        wins, ties, losses = counts[strategy]
        rows.append(
            {
                "dataset": dataset,
                "strategy": strategy,
                "aubc_mean": mean,
                "aubc_std": statistics.stdev(values) if len(values) > 1 else None,
                "aubc_low": min(low, mean),  # equal values: the means of resamples may differ in the last bit
                "aubc_high": max(high, mean),
                "final_accuracy_mean": statistics.fmean(finals[strategy]),
                "wins": wins,
                "ties": ties,
                "losses": losses,
                "relative_time": times[strategy],
            }
        )
    return rows


def _result_row(run: FinishedRun, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dataset": run.dataset,
        "strategy": run.strategy,
        "seed": run.seed,
        **{key: record[key] for key in ("round", "n_labeled", "accuracy")},
        "train_s": record["seconds"]["train"],
        "query_s": record["seconds"]["query"],
    }


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _refuse_foreign(path: Path, columns: Sequence[str]) -> None:
    """Refuse to replace a file that is not ours."""
    if not path.exists():
        return
    try:
        with open(path, encoding="utf-8") as file:
            head = file.readline().strip()
    except (OSError, ValueError):
        head = ""
    if head != ",".join(columns):
        raise RunFolderError(f"{path} is no table of a benchmark and would be replaced; choose another --out")
