"""A benchmark's tables, results.csv and summary.csv, built from the run folders inside its folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepal_autoal.errors import RunFolderError
from deepal_autoal.experiment.records import SUMMARY
from deepal_autoal.experiment.results import (
    ALL_RESULT_COLUMNS,
    RESULT_COLUMNS,
    RESULTS,
    FinishedRun,
    Results,
    read_benchmark_run,
    run_folders,
)
from deepal_autoal.experiment.scores import PLAIN
from deepal_autoal.files import refuse_special, write_bytes
from deepal_autoal.plugins.registry import is_oracle
from deepal_autoal.statistics import estimate_all, find_regrets, relative_times, wins_ties_losses, without_oracles
from deepal_autoal.statistics.times import REFERENCE

# Of further columns, ``regret_<oracle>`` and its interval, if there are oracles.
REGRET = "regret_"
TABLE_OF_STRATEGIES = "summary.csv"
SUMMARY_COLUMNS = (
    "dataset", "strategy", "aubc_mean", "aubc_std", "aubc_low", "aubc_high", "final_accuracy_mean", "wins", "ties",
    "losses", "relative_time",
)  # fmt: skip


class Tables:
    """The tables of a benchmark's folder.

    Args:
        out: The benchmark's folder.

    Raises:
        RunFolderError: If a finished run there is damaged, or a file with a table's name is not such a table.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._runs: dict[Path, FinishedRun] = {}
        _refuse_foreign(out / RESULTS, RESULT_COLUMNS, ALL_RESULT_COLUMNS)
        _refuse_foreign(out / TABLE_OF_STRATEGIES, SUMMARY_COLUMNS)
        self.read()

    @property
    def runs(self) -> tuple[FinishedRun, ...]:
        """The finished runs by dataset, strategy and seed."""
        return Results(tuple(self._runs.values())).runs

    def run(self, folder: Path) -> FinishedRun:
        """Return the finished run of a folder."""
        return self._runs[folder]

    def forget(self, folder: Path) -> None:
        """Have a run read again, which was extended."""
        self._runs.pop(folder, None)

    def read(self) -> None:
        """Read the runs that finished since the last call, including those of other processes."""
        for folder in run_folders(self._out):
            if folder not in self._runs and (folder / SUMMARY).exists():
                self._runs[folder] = read_benchmark_run(folder)

    def summary(self) -> list[dict[str, Any]]:
        """Return a row for each dataset and strategy, keyed by the columns of summary.csv; None for a missing value."""
        results = Results(tuple(self._runs.values()))
        counts, times = {}, {}
        for dataset in results.datasets:
            seconds = {
                strategy: {seed: run.total_seconds for seed, run in by_seed.items()}
                for strategy, by_seed in results.on(dataset).items()
            }
            counts[dataset] = wins_ties_losses(without_oracles(results).areas(dataset))
            times[dataset] = relative_times(seconds, REFERENCE)
        regrets = {(found.dataset, found.strategy, found.oracle): found.difference for found in find_regrets(results)}
        oracles = sorted({run.strategy for run in results.runs if is_oracle(run.strategy)})
        rows = []
        for found in estimate_all(results):
            wins, ties, losses = counts[found.dataset].get(found.strategy, (None, None, None))
            to_oracles: dict[str, float | None] = {}
            for oracle in oracles:
                regret = regrets.get((found.dataset, found.strategy, oracle))
                to_oracles |= {
                    f"{REGRET}{oracle}": None if regret is None else regret.mean,
                    f"{REGRET}{oracle}_low": None if regret is None else regret.low,
                    f"{REGRET}{oracle}_high": None if regret is None else regret.high,
                }
            rows.append(
                {
                    "dataset": found.dataset,
                    "strategy": found.strategy,
                    "aubc_mean": found.aubc.mean,
                    "aubc_std": found.aubc.std,
                    "aubc_low": found.aubc.low,
                    "aubc_high": found.aubc.high,
                    "final_accuracy_mean": found.final_accuracy.mean,
                    "wins": wins,
                    "ties": ties,
                    "losses": losses,
                    "relative_time": times[found.dataset][found.strategy],
                    **to_oracles,
                }
            )
        return rows

    def write(self) -> None:
        """Read new runs and replace both files, each atomically.

        Raises:
            RunFolderError: If they cannot be written.
        """
        self.read()
        has_plain = any(run.plain_accuracy is not None for run in self.runs)
        results = (row for run in self.runs for row in _result_rows(run))
        write_bytes(self._out / RESULTS, _csv(ALL_RESULT_COLUMNS if has_plain else RESULT_COLUMNS, results))
        summary = self.summary()
        columns = [*SUMMARY_COLUMNS, *(name for row in summary[:1] for name in row if name.startswith(REGRET))]
        write_bytes(self._out / TABLE_OF_STRATEGIES, _csv(columns, summary))


def _result_rows(run: FinishedRun) -> Iterable[dict[str, Any]]:
    for number, seconds in enumerate(run.seconds):
        yield {
            "dataset": run.dataset,
            "strategy": run.strategy,
            "seed": run.seed,
            "round": number,
            "n_labeled": run.n_labeled[number],
            "accuracy": run.accuracy[number],
            "train_s": seconds["train"],
            "query_s": seconds["query"],
            **({PLAIN: run.plain_accuracy[number]} if run.plain_accuracy is not None else {}),
        }


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _refuse_foreign(path: Path, *heads: Sequence[str]) -> None:
    """Refuse to replace a file that is not ours."""
    if not path.exists():
        return
    try:
        refuse_special(path)
        with open(path, encoding="utf-8") as file:
            head = file.readline().strip()
    except (OSError, ValueError):
        head = ""
    names = head.split(",")
    while names and names[-1].startswith(REGRET):
        names.pop()
    if names not in [[*columns] for columns in heads]:
        raise RunFolderError(f"{path} is not a benchmark's table and would be replaced; choose another --out")
