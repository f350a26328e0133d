"""Measure what the search learns: rank correlation of S̄ with the truth on the pool, for SearchNet trained and frozen.

    python benchmarks/autoal/diagnosis.py --data study-data --out benchmarks/autoal/results/diagnosis.csv

This uses true labels, so it is only a simulation. In runs of AutoAL on embeddings with a linear head, each round's S̄
of all unlabeled samples is compared with

- their true loss: the task model's cross-entropy with the true label;
- their true gain, to first order: how much a gradient step on the sample, with its true label, lowers the test loss.

The candidates' own ranks, those of ``vote``, and S̄ of an untrained SearchNet in the same round are compared in the
same way. The overlap is the share of the final stage's filter (the highest S̄, from which k-means takes the batch) that
is also in a vote's filter.
"""

import argparse
import csv
import logging
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from plan import SETTINGS, SEVEN, Setting
from scipy.stats import spearmanr

from deepal_autoal import (
    ActiveRun,
    Dataset,
    Query,
    QueryContext,
    SelectorStrategy,
    create_strategy,
    load_dataset,
    run,
)  # fmt: skip
from deepal_autoal.training.inputs import Inputs
from deepal_strategies.shared.final_stage import FinalStage
from deepal_strategies.shared.votes import collect_votes

COLUMNS = ("setting", "seed", "round", "n_labeled", "score", "loss", "gain", "overlap")


class Diagnosis(SelectorStrategy):
    """NOT A STRATEGY. Queries the batches of ``autoal``, and compares its scores with the truth, which needs labels.

    Args:
        data: The run's dataset, with all its labels.
        candidates: Names of the candidates.
        options: Options of ``autoal``.
    """

    def __init__(self, data: Dataset, candidates: list[str], options: dict[str, Any]) -> None:
        super().__init__({name: create_strategy(name) for name in candidates})
        self.name = "diagnosis"
        self.options = {}
        self.rows: list[dict[str, Any]] = []
        self.test_inputs: torch.Tensor | None = None
        self._data = data
        self._searches = {
            "autoal": create_strategy("autoal", candidates, **options),
            "frozen": create_strategy("autoal", candidates, **{**options, "search": "frozen"}),
        }

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the trained search's batch."""
        ranks = collect_votes(self, context, batch_size).ranks
        scores = dict(zip(self.candidates, ranks, strict=True))
        scores["vote"] = ranks.mean(dim=0)
        for name, strategy in self._searches.items():
            # Contexts with the same purpose draw the same random numbers, so both split the labeled set alike.
            scores[name], _ = strategy.search_scores(context.rebuild(purpose="search"), batch_size)
        loss, gain = self._truth(context)
        width = FinalStage("diverse").width(context, batch_size)
        voted = set(scores["vote"].topk(width).indices.tolist())
        for name, values in scores.items():
            self.rows.append({
                "round": context.round, "n_labeled": len(context.labeled), "score": name,
                "loss": _correlation(values, loss), "gain": _correlation(values, gain),
                "overlap": len(voted & set(values.topk(width).indices.tolist())) / width,
            })  # fmt: skip
        return Query(FinalStage("diverse").choose(context, scores["autoal"], batch_size))

    def _truth(self, context: QueryContext) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each unlabeled sample's loss, and its gradient's inner product with that of the mean test loss."""
        view, data, module = context.candidates, self._data, context.model.module
        labels = torch.as_tensor(np.array(data.y_train[view.indices]))
        loss = F.cross_entropy(view.logits(), labels, reduction="none")
        assert self.test_inputs is not None
        with torch.no_grad():
            features = module.features(self.test_inputs)
            test = _residuals(module.head(features), torch.as_tensor(np.array(data.y_test)))
        gradient = test.T @ _with_bias(features) / len(features)
        gain = ((_residuals(view.logits(), labels) @ gradient) * _with_bias(view.embeddings())).sum(dim=1)
        return loss, gain


def _residuals(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return logits.softmax(dim=1) - F.one_hot(labels, logits.shape[1])


def _with_bias(features: torch.Tensor) -> torch.Tensor:
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1)


def _correlation(scores: torch.Tensor, truth: torch.Tensor) -> float:
    return float(spearmanr(scores.numpy(), truth.numpy()).statistic)


def diagnose(
    setting: Setting, path: Path, seed: int, candidates: list[str], options: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the rows of one run."""
    logging.getLogger("deepal_autoal").setLevel(logging.ERROR)
    data = load_dataset(path)
    strategy = Diagnosis(data, candidates, options)

    def take_test_inputs(active: ActiveRun) -> None:
        inputs = Inputs(data.x_test, active.learner.normalization, active.learner.device)
        strategy.test_inputs = inputs.batch(np.arange(len(inputs)))

    run(
        strategy, data, seed=seed, model=setting.model, initial=setting.initial, batch_size=setting.batch_size,
        rounds=setting.rounds, pool_size=setting.pool_size, recipe=setting.recipe, threads=1, device="cpu",
        on_start=take_test_inputs,
    )  # fmt: skip
    return [{"setting": setting.name, "seed": seed, **row} for row in strategy.rows]


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return Markdown tables of means over rounds and seeds by setting."""
    names = ["autoal", "frozen", "vote"]
    names += [name for name in dict.fromkeys(row["score"] for row in rows) if name not in names]
    lines = []
    for what in ("loss", "gain", "overlap"):
        lines += [f"\n{what}:\n", "| setting | " + " | ".join(f"`{name}`" for name in names) + " |"]
        lines.append("|---" * (len(names) + 1) + "|")
        for setting in dict.fromkeys(row["setting"] for row in rows):
            means = [
                np.mean([float(row[what]) for row in rows if (row["setting"], row["score"]) == (setting, name)])
                for name in names
            ]
            lines.append(f"| {setting} | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the embeddings")
    parser.add_argument("--out", type=Path, required=True, help="CSV file of all rounds")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--settings", default=",".join(name for name, s in SETTINGS.items() if not s.is_images))
    parser.add_argument("--candidates", default=",".join(SEVEN))
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="of autoal")
    arguments = parser.parse_args()
    options = dict(option.split("=", 1) for option in arguments.option)
    candidates = arguments.candidates.split(",")
    settings = [SETTINGS[name] for name in arguments.settings.split(",")]
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as executor:
        futures = [
            executor.submit(diagnose, setting, path_of(arguments.data, setting), seed, candidates, options)
            for setting in settings
            for seed in range(arguments.seeds)
        ]
        rows = [row for future in futures for row in future.result()]
    with open(arguments.out, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()})
    print("\n".join(table(rows)))


def path_of(folder: Path, setting: Setting) -> Path:
    """Return the file of a setting's embeddings."""
    return folder / f"{setting.dataset}{'-imbalanced' if setting.is_imbalanced else ''}.npz"


if __name__ == "__main__":
    sys.exit(main())
