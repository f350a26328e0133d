"""How well do utility models and votes order the batches that an oracle tried? Rank correlation within each state.

    deepal benchmark --config benchmarks/rambo/oracles-low.toml --out oracles-low
    python benchmarks/rambo/judge.py oracles-low --out judge-low.csv

For every state of every oracle run in the folders, judges that know the labeled samples alone score all batches that
were tried there. A row has each judge's Spearman correlation with what the batches gained in truth; the table at the
end has means over seeds with standard errors. Continues where it stopped.

The judges:
    utility    RAMBO's û of the labeled samples and the batch
    trust      mean of AutoAL's combined scores over the batch, weights learned in the labeled set
    equal      the same with equal weights: the vote
    coverage   what the batch adds to the coverage of the pool's uncertain samples, UHerding's objective
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from deepal_autoal import ActiveLearner, Query, QueryContext, Strategy, create_strategy, load_dataset
from deepal_autoal.experiment.pool import draw_members
from deepal_autoal.oracles import RoundTrials, read_trials
from deepal_strategies.autoal.strategy import AutoAL
from deepal_strategies.rambo.strategy import RAMBO
from deepal_strategies.shared.coverage import Similarity, gaussian
from deepal_strategies.shared.covering_batches import labeled_radius
from deepal_strategies.shared.uncertainty import negative_margin

JUDGES = ("utility", "trust", "equal", "coverage")
COLUMNS = ("folder", "dataset", "oracle", "seed", "round", "n_labeled", "n_batches", *JUDGES)


class Judging(Strategy):
    """Scores given batches instead of choosing one.

    Args:
        batches: Pool indices, each int64 (b,).
    """

    requires = frozenset({"probabilities", "embeddings", "mc_dropout"})

    def __init__(self, batches: Sequence[NDArray[np.int64]]) -> None:
        self.batches = batches
        self.scores: dict[str, NDArray[np.float64]] = {}

    def query(self, context: QueryContext, batch_size: int) -> Query:
        places = [np.searchsorted(context.candidates.indices, np.sort(batch)) for batch in self.batches]
        self.scores = {
            "utility": utilities(context, places),
            **{name: votes(context, batch_size, places, name) for name in ("trust", "equal")},
            "coverage": coverages(context, places),
        }
        return Query(context.candidates.indices[:batch_size])


def utilities(context: QueryContext, places: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Return RAMBO's û of the labeled samples and each batch."""
    strategy = create_strategy("rambo")
    assert isinstance(strategy, RAMBO)
    score, _ = strategy.learn(context, torch.arange(len(context.candidates)))
    nothing = np.empty(0, dtype=np.int64)
    return np.array([float(score(nothing, batch[None])[0]) for batch in places])


def votes(
    context: QueryContext, batch_size: int, places: Sequence[NDArray[np.int64]], name: str
) -> NDArray[np.float64]:
    """Return the mean of AutoAL's scores over each batch: with learned weights, or with equal ones."""
    strategy = create_strategy("autoal", search="trained" if name == "trust" else "frozen")
    assert isinstance(strategy, AutoAL)
    scores = strategy.search_scores(context.for_candidate(name), batch_size)[0].cpu().double().numpy()
    return np.array([scores[batch].mean() for batch in places])


def coverages(context: QueryContext, places: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Return what each batch adds to the weighted coverage of all candidates."""
    rows = context.candidates.embeddings()
    weights = (1.0 + negative_margin(context.candidates.calibrated_log_probabilities())).double()
    similarity = Similarity(rows, labeled_radius(context, "nearest"), gaussian)
    covered = similarity.best(context.labeled.embeddings())
    return np.array(
        [float((similarity.best(rows[batch]) - covered).clamp_(min=0.0).double() @ weights) for batch in places]
    )


def correlations(
    x: NDArray[np.float32], y: NDArray[np.int64], model: str, seed: int, found: RoundTrials
) -> list[float]:
    """Return each judge's rank correlation with the gains in one state; NaN where all gains are equal.

    Args:
        x, y: The pool's vectors and classes, by the indices of the trials.
        model: Name of the task model.
        seed: Of the run.
        found: The state, and the batches tried in it.
    """
    judging = Judging([trial.batch for trial in found.trials])
    learner = ActiveLearner(x, judging, int(y.max()) + 1, model=model, seed=seed)
    learner.tell(found.labeled, y[found.labeled])
    learner.ask(len(found.trials[0].batch))
    with np.errstate(invalid="ignore"):
        return [float(spearmanr(judging.scores[name], found.gains).statistic) for name in JUDGES]


def rows_of(folder: Path, done: Collection[tuple[str, ...]]) -> Iterator[list[Any]]:
    """Yield a row for every state of a benchmark's oracles that is not done."""
    for path in sorted(folder.glob("*/oracle-*/seed-*/config.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        dataset = load_dataset(config["settings"]["dataset"])
        n, seed, model = len(dataset.x_train), config["seed"], config["model"]["name"]
        members = draw_members(n, seed, config["pool_size"])
        place = np.full(n, -1)
        place[members] = np.arange(len(members))
        for found in read_trials(path.parent):
            key = (str(folder), dataset.name, path.parent.parent.name, str(seed), str(found.round))
            if key in done:
                continue
            inside = RoundTrials(
                found.round, place[found.labeled], found.third_split, found.accuracy, found.loss,
                tuple(replace(trial, batch=place[trial.batch]) for trial in found.trials), found.chosen,
            )  # fmt: skip
            judged = correlations(dataset.x_train[members], dataset.y_train[members], model, seed, inside)
            yield [*key, len(found.labeled), len(found.trials), *(f"{value:.4f}" for value in judged)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="of benchmarks with oracles and a pool size")
    parser.add_argument("--out", type=Path, default=Path("judge.csv"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if not options.out.exists():
        options.out.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    with open(options.out, newline="", encoding="utf-8") as file:
        done = {tuple(row[:5]) for row in csv.reader(file)}
    for folder in options.folders:
        for row in rows_of(folder, done):
            with open(options.out, "a", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerow(row)
    print(table(options.out))


def table(path: Path) -> str:
    """Return mean correlations by folder, dataset and oracle: over rounds, then over seeds with a standard error."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = []
    for group in dict.fromkeys((row["folder"], row["dataset"], row["oracle"]) for row in rows):
        own = [row for row in rows if (row["folder"], row["dataset"], row["oracle"]) == group]
        seeds = sorted({row["seed"] for row in own})
        cells = []
        for name in JUDGES:
            by_seed = [np.nanmean([float(row[name]) for row in own if row["seed"] == seed]) for seed in seeds]
            error = np.std(by_seed, ddof=1) / np.sqrt(len(by_seed)) if len(by_seed) > 1 else float("nan")
            cells.append(f"{name} {np.mean(by_seed):+.2f} ± {error:.2f}")
        lines.append(f"{' '.join(group)} ({len(own)} states, {len(seeds)} seeds): {', '.join(cells)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
