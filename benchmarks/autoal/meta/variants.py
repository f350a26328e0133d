"""Compare variants of uncertainty herding on tasks: which single change gains, before a search over all of them.

    python benchmarks/autoal/meta/variants.py --data study-data --tasks 0:120 --out variants.jsonl

Each line is a task with the area of every variant; the means of the differences from the base are printed at the end.
Continues where it stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from policies import nearest_radius
from scipy.sparse import csr_matrix
from simulator import State, simulate
from tasks import FAMILIES, draw_task
from torch import Tensor

N_REFERENCE, N_NEIGHBORS, N_STEPS = 1_000, 15, 60
MOST_QUERIED = 120
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    "squared": {"alpha": 2.0},
    "power 1.5": {"alpha": 1.5},
    "entropy": {"measure": "entropy"},
    "label-aware": {"agreement": 0.5},
    "rare classes": {"gamma": 0.3},
    "graph": {"source": "graph"},
    "model and graph": {"source": "both"},
    "own radii": {"has_own_radii": True},
}


def margin(p: Tensor) -> Tensor:
    top = p.topk(2, dim=1).values
    return 1.0 - (top[:, 0] - top[:, 1])


def entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-9).log()).sum(dim=1)


MEASURES: Mapping[str, Callable[[Tensor], Tensor]] = {"margin": margin, "entropy": entropy}


def neighbors(units: Tensor) -> tuple[Tensor, Tensor]:
    """Return similarities to the nearest other rows and these rows, (N, k) each."""
    similarities, rows = (units @ units.T).topk(N_NEIGHBORS + 1, dim=1)
    return similarities[:, 1:], rows[:, 1:]


def graph_probabilities(state: State) -> Tensor:
    """Return class probabilities of the pool by label propagation on the graph of nearest neighbors, (N, C).

    The harmonic solution of Zhu, Ghahramani & Lafferty (2003) with a small pull to no class; what is missing to 1 is
    spread evenly.
    """
    similarities, rows = neighbors(state.units)
    squares = (2.0 - 2.0 * similarities).clamp_min(1e-8)
    weights = (-4.0 * squares / squares[:, N_NEIGHBORS // 2, None]).exp()
    n = len(rows)
    graph = csr_matrix(
        (weights.numpy().ravel(), (np.repeat(np.arange(n), N_NEIGHBORS), rows.numpy().ravel())), shape=(n, n)
    )
    graph = graph.maximum(graph.T).astype(np.float32)
    inverse = (1.0 / (1.02 * np.asarray(graph.sum(axis=1)) + 1e-9)).astype(np.float32)
    known = torch.nn.functional.one_hot(state.labels, state.n_classes).float().numpy()
    found = np.zeros((n, state.n_classes), dtype=np.float32)
    for _ in range(N_STEPS):
        found[state.labeled.numpy()] = known
        found = inverse * (graph @ found)
    found[state.labeled.numpy()] = known
    spread = torch.from_numpy(found)
    return spread + (1.0 - spread.sum(dim=1, keepdim=True)).clamp_min(0.0) / state.n_classes


def variant(
    state: State,
    n: int,
    *,
    measure: str = "margin",
    source: str = "model",
    alpha: float = 1.0,
    gamma: float = 0.0,
    agreement: float = 0.0,
    has_own_radii: bool = False,
) -> Tensor:
    """Return a greedy covering batch.

    Args:
        state: The round.
        n: Size of the batch.
        measure: Of uncertainty: ``margin`` or ``entropy``.
        source: Of probabilities: the ``model``, the ``graph``, or the mean of ``both``.
        alpha: Power of the uncertainty.
        gamma: Power of the rarity of the predicted classes among the labels.
        agreement: How much less a sample covers another whose probabilities differ.
        has_own_radii: Whether each sample has a radius in proportion to the distance to its neighbors.
    """
    units, labeled = state.units[state.candidates], state.units[state.labeled]
    drawn = torch.randperm(len(units), generator=state.generator)[:N_REFERENCE]
    p = (state.logits / state.temperature).softmax(dim=1)
    if source != "model":
        graph = graph_probabilities(state)[state.candidates]
        p = graph if source == "graph" else 0.5 * (p + graph)
    weights = (MEASURES[measure](p).clamp_min(0.0) + 1e-3) ** alpha
    if gamma:
        counts = torch.bincount(state.labels, minlength=state.n_classes)
        rarity = p @ (1.0 / (counts + 1.0))
        weights = weights * (rarity / rarity.mean()) ** gamma
    radius = max(nearest_radius(state), 0.02)
    scales = torch.ones(len(state.units))
    if has_own_radii:
        distances = (2.0 - 2.0 * neighbors(state.units)[0][:, N_NEIGHBORS // 2]).clamp_min(1e-8).sqrt()
        scales = distances / distances.median()
    known = torch.nn.functional.one_hot(state.labels, state.n_classes).float()

    def kernel(rows: Tensor, own: Tensor, probabilities: Tensor) -> Tensor:
        exponents = (2.0 - 2.0 * rows @ units[drawn].T).clamp_min(0.0) / radius**2
        exponents = exponents / (own[:, None] * scales[state.candidates][drawn][None])
        if agreement:
            exponents = exponents + agreement * torch.cdist(probabilities, p[drawn]).square()
        return exponents.neg().exp()

    covers = kernel(units, scales[state.candidates], p)
    covered = kernel(labeled, scales[state.labeled], known).amax(dim=0)
    chosen: list[int] = []
    for _ in range(n):
        gains = (covers - covered).clamp_min(0.0) @ weights[drawn]
        gains[chosen] = -1.0
        chosen.append(int(gains.argmax()))
        covered = torch.maximum(covered, covers[chosen[-1]])
    return torch.tensor(chosen)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("study-data"))
    parser.add_argument("--tasks", default="0:120", metavar="FIRST:END")
    parser.add_argument("--out", type=Path, default=Path("variants.jsonl"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    first, end = map(int, options.tasks.split(":"))
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    done = {row["task"] for row in rows}
    for number in range(first, end):
        task = draw_task(number, FAMILIES, options.data)
        if number in done or task.batch_size > MOST_QUERIED:
            continue
        areas = {name: simulate(task, partial(variant, **changes)) for name, changes in VARIANTS.items()}
        rows.append({"task": number, "family": task.family, "per_class": task.initial / task.n_classes, **areas})
        with open(options.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    for name in list(VARIANTS)[1:]:
        gains = np.array([row[name] - row["base"] for row in rows])
        print(f"{name:16} {gains.mean():+.2f} ± {gains.std() / np.sqrt(len(gains)):.2f} points on {len(gains)} tasks")


if __name__ == "__main__":
    main()
