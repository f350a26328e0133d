"""Search the coverage policy's parameters, as functions of the state, for the area under the curve over many tasks.

    python benchmarks/autoal/meta/search.py --data study-data --out meta --leave-out digits

Every parameter of `Coverage` is a + b·s + c·h with s = log10(labels per class) - 0.7 and h = the held-out accuracy
above chance, in [0, 1], minus 0.6. CMA-ES (Hansen 2016) minimizes the mean over tasks of the policy's area below that
of uncertainty herding on the same task, on new tasks in every generation, so that no policy can fit their noise. It can
be stopped at any time: the same command continues from the last generation, which is a file of plain numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cma
import numpy as np
import torch
from numpy.typing import NDArray
from policies import Coverage
from simulator import State, simulate
from tasks import FAMILIES, draw_task
from torch import Tensor

PARAMETERS = ("power", "alpha", "delta", "gamma", "log_radius")
# Uncertainty herding, where the search starts; and the steps in which each parameter is varied.
START = np.array([[0.3, 0, 0], [1.0, 0, 0], [0.0, 0, 0], [0.1, 0, 0], [0.0, 0, 0]])
STEPS = np.array([[0.5, 0.5, 0.8], [0.4, 0.4, 0.6], [0.2, 0.2, 0.3], [0.2, 0.2, 0.3], [0.25, 0.25, 0.4]])
# What a parameter may become, whatever the state.
LIMITS = {
    "power": (0.0, 8.0),
    "alpha": (0.0, 4.0),
    "delta": (-0.5, 1.0),
    "gamma": (0.0, 2.0),
    "log_radius": (-1.5, 1.5),
}


def parameters_at(coefficients: NDArray[np.float64], state: State) -> dict[str, float]:
    """Return the policy's parameters in a state.

    Args:
        coefficients: a, b and c of each parameter, (5, 3).
        state: The round.
    """
    per_class = len(state.labeled) / state.n_classes
    chance = 1.0 / state.n_classes
    accuracy = state.held_out_accuracy if math.isfinite(state.held_out_accuracy) else chance
    above = max(0.0, (accuracy - chance) / (1.0 - chance))
    values = coefficients @ np.array([1.0, math.log10(max(per_class, 0.1)) - 0.7, above - 0.6])
    return {name: float(np.clip(value, *LIMITS[name])) for name, value in zip(PARAMETERS, values, strict=True)}


def policy_of(coefficients: NDArray[np.float64], state: State, n: int) -> Tensor:
    """Return the batch of the policy with these coefficients."""
    return Coverage(**parameters_at(coefficients, state))(state, n)


def areas(number: int, candidates: NDArray[np.float64], families: Sequence[str], data: Path) -> list[float]:
    """Return the area of each candidate on a task, minus that of uncertainty herding."""
    torch.set_num_threads(1)
    task = draw_task(number, families, data)
    base = simulate(task, Coverage())
    return [simulate(task, partial(policy_of, one.reshape(START.shape))) - base for one in candidates]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("study-data"))
    parser.add_argument("--out", type=Path, default=Path("meta"))
    parser.add_argument("--leave-out", default="", metavar="A,B", help="families that no task is drawn from")
    parser.add_argument("--generations", type=int, default=100)
    parser.add_argument("--tasks", type=int, default=24, help="tasks in each generation")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    families = [name for name in FAMILIES if name not in options.leave_out.split(",")]
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"search{'-without-' + options.leave_out if options.leave_out else ''}.jsonl"
    search = cma.CMAEvolutionStrategy(
        np.zeros(START.size), 1.0, {"seed": 1, "verbose": -9, "CMA_stds": STEPS.ravel().tolist()}
    )
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for generation in done:
        # The same seed draws the same candidates, so telling the earlier losses restores the search.
        search.ask()
        search.tell([np.array(one) for one in generation["candidates"]], generation["losses"])
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for number in range(len(done), options.generations):
            started = time.perf_counter()
            candidates = search.ask()
            rows = np.array([START.ravel() + one for one in candidates] + [START.ravel() + search.mean])
            tasks = range(number * options.tasks, (number + 1) * options.tasks)
            found = np.array(
                pool.map(partial(areas, candidates=rows, families=families, data=options.data), tasks, chunksize=1)
            )
            losses = (-found[:, :-1].mean(axis=0)).tolist()
            search.tell(candidates, losses)
            record = {
                "generation": number, "candidates": [one.tolist() for one in candidates], "losses": losses,
                "mean": (START.ravel() + search.mean).tolist(), "gain_of_mean": float(found[:, -1].mean()),
                "error_of_gain": float(found[:, -1].std() / math.sqrt(len(found))),
                "seconds": round(time.perf_counter() - started, 1),
            }  # fmt: skip
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            print(f"generation {number}: gain of the mean {record['gain_of_mean']:+.2f} "
                  f"± {record['error_of_gain']:.2f}, {record['seconds']:.0f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
