"""Try candidate batches from many states of many tasks: the data that a ranker of batches is trained on.

    python benchmarks/autoal/meta/triples.py --data study-data --tasks 0:700 --out triples.jsonl

On each task, uncertainty herding or random sampling runs to a round that the task's number decides. In that state every
policy of `candidates` chooses a batch, the model is trained with each, and a line has the state's traits and, for each
batch, what `traits` says of it without its labels, and what it gained on the test set. Continues where it stopped;
several processes can share the tasks, each with its own range and file.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from landscape import BASE, MOST_QUERIED, drawn_policies
from policies import N_REFERENCE, Coverage, margin, nearest_radius, random, uncertainty
from simulator import Policy, State, run
from tasks import FAMILIES, Task, add_families, draw_task
from torch import Tensor

from deepal_autoal.numerics.random_streams import numpy_stream, torch_stream
from deepal_strategies.shared.coverage import Similarity, gaussian
from deepal_strategies.shared.ranks import mid_ranks

N_DRAWN = 5
# What is known of a batch before its labels are; see `traits`.
TRAITS = (
    "covers_uncertain", "covers_pool", "uncertainty", "density", "novelty", "spread", "class_entropy", "class_need",
    "information",
)  # fmt: skip


def candidates(number: int) -> dict[str, Policy]:
    """Return the policies that propose a batch on a task, by name."""
    found: dict[str, Policy] = {
        "uherding": BASE, "maxherding": Coverage(alpha=0.0), "alpha-3": Coverage(alpha=3.0), "margin": margin,
        "random": random, "random-again": random, "filter": filtered,
    }  # fmt: skip
    return {**found, **{f"drawn-{i}": policy for i, policy in enumerate(drawn_policies(number, N_DRAWN))}}


def filtered(state: State, n: int) -> Tensor:
    """Return a uniform draw from the 5n smallest margins."""
    best = uncertainty(state).topk(min(5 * n, len(state.candidates))).indices
    return best[torch.randperm(len(best), generator=state.generator)[:n]]


class Describe:
    """Describes batches in one state."""

    def __init__(self, state: State) -> None:
        self._units = state.units[state.candidates]
        radius = nearest_radius(state)
        drawn = torch.randperm(len(self._units), generator=state.generator)[:N_REFERENCE]
        self._similarity = Similarity(self._units[drawn], radius, gaussian)
        self._covered = self._similarity.best(state.units[state.labeled])
        self._uncertainty = uncertainty(state)
        self._weights = self._uncertainty[drawn].double()
        self._ranks = mid_ranks(self._uncertainty)
        near = (self._units @ self._units[drawn].T).clamp(-1, 1)
        self._density = mid_ranks(near.topk(min(20, near.shape[1]), dim=1).values.mean(dim=1))
        self._nearest_labeled = mid_ranks(-(self._units @ state.units[state.labeled].T).max(dim=1).values)
        self._probabilities = (state.logits / state.temperature).softmax(dim=1)
        counts = torch.bincount(state.labels, minlength=state.n_classes).float()
        expected = self._probabilities.mean(dim=0) * len(state.labels)
        # How many labels a class lacks for the share that the model expects of it in the pool.
        self._need = ((expected - counts) / math.sqrt(len(state.labels))).clamp(-3, 3)

    def traits(self, batch: Tensor) -> dict[str, float]:
        """Return numbers on a batch that need no label of it; higher is what the name says."""
        added = (self._similarity.best(self._units[batch]) - self._covered).clamp_min(0.0).double()
        p = self._probabilities[batch]
        mean = p.mean(dim=0)
        own = self._units[batch] @ self._units[batch].T
        own.fill_diagonal_(-1.0)
        nearest = own.max(dim=1).values if len(batch) > 1 else torch.zeros(1)
        # Fisher's information of the batch's logits, in nats, with a unit prior: gradients' inner products.
        errors = (p * (1 - p)).sqrt()
        gram = (errors @ errors.T) * (self._units[batch] @ self._units[batch].T)
        information = torch.linalg.slogdet(torch.eye(len(batch)) + gram).logabsdet / len(batch)
        return {
            "covers_uncertain": float((added * self._weights).sum() / self._weights.sum().clamp_min(1e-9)),
            "covers_pool": float(added.mean()),
            "uncertainty": float(self._ranks[batch].mean()),
            "density": float(self._density[batch].mean()),
            "novelty": float(self._nearest_labeled[batch].mean()),
            "spread": float(1.0 - nearest.mean()),
            "class_entropy": float(-(mean * mean.clamp_min(1e-9).log()).sum() / math.log(len(mean))),
            "class_need": float(self._need @ mean),
            "information": float(information),
        }


def measure(task: Task, n_families: int = len(FAMILIES)) -> dict[str, Any] | None:
    """Return the batches that were tried in one state of a task, with their traits and gains; None without any.

    Args:
        task: The task.
        n_families: How many families take turns, so that the two policies that lead to the state do so in each.
    """
    stop = int(numpy_stream(task.seed, "meta triples").integers(task.rounds))
    lead = (BASE, random)[task.seed // n_families % 2]
    for number, (state, model, rows, tested) in enumerate(run(task, lead)):
        if number < stop:
            continue
        y, y_test = torch.from_numpy(task.y), torch.from_numpy(task.y_test)
        describe = Describe(state)
        before = scores(model.weights, tested, y_test)
        batches = []
        for name, policy in candidates(task.seed).items():
            state.generator = torch_stream(task.seed, "meta triples", name)
            batch = policy(state, task.batch_size)
            labeled = torch.cat([state.labeled, state.candidates[batch]])
            after = copy.copy(model)
            after.fit(rows[labeled], y[labeled], 1000 * task.seed + number + 1)
            accuracy, loss = scores(after.weights, tested, y_test)
            batches.append({
                "policy": name, "gain": 100 * (accuracy - before[0]), "loss_gain": before[1] - loss,
                **describe.traits(batch),
            })  # fmt: skip
        return {
            "task": task.seed, "family": task.family, "n_classes": task.n_classes, "n_labels": len(state.labeled),
            "batch_size": task.batch_size, "accuracy": before[0], "held_out": state.held_out_accuracy,
            "batches": batches,
        }  # fmt: skip
    return None


def scores(weights: Tensor, tested: Tensor, y_test: Tensor) -> tuple[float, float]:
    """Return accuracy and mean cross-entropy, in nats, on the test set."""
    logits = tested @ weights[:-1] + weights[-1]
    accuracy = float((logits.argmax(dim=1) == y_test).double().mean())
    return accuracy, float(torch.nn.functional.cross_entropy(logits, y_test))


def read(paths: Sequence[Path]) -> list[Mapping[str, Any]]:
    """Return the states of files."""
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("study-data"))
    parser.add_argument("--tasks", default="0:700", metavar="FIRST:END[:STEP]")
    add_families(parser)
    parser.add_argument("--out", type=Path, default=Path("triples.jsonl"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    done = {row["task"] for row in read([options.out])} if options.out.exists() else set()
    for number in range(*map(int, options.tasks.split(":"))):
        task = draw_task(number, options.families, options.data)
        if number in done or task.batch_size > MOST_QUERIED:
            continue
        found = measure(task, len(options.families))
        if found is not None and np.isfinite([batch["gain"] for batch in found["batches"]]).all():
            with open(options.out, "a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
