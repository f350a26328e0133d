"""Measure what the parameters of the coverage policy are worth, on many tasks: the data that a prior is fitted to.

    python benchmarks/autoal/meta/landscape.py --data study-data --tasks 0:700 --out landscape.jsonl

On each task the default of `uherding` (`BASE`) and some policies with parameters drawn for that task run from the same
labels. A line has the task's traits and, for each policy, its parameters and its area. Continues where it stopped;
several processes can share the tasks, each with its own range and file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from policies import Coverage
from simulator import Policy, State, simulate
from tasks import Task, add_families, draw_task
from torch import Tensor

from deepal_autoal.numerics.random_streams import numpy_stream

BASE = Coverage()
N_POLICIES = 7
MOST_QUERIED = 120
# Of the drawn parameters: lowest, highest, and the value that half of the policies have.
RANGES = {
    "alpha": (0.0, 5.0, 1.0),
    "delta": (-0.5, 1.0, 0.0),
    "gamma": (-0.5, 2.0, 0.0),
    "log_radius": (-1.0, 1.5, 0.0),
}


def drawn_policies(number: int, n_policies: int = N_POLICIES) -> list[Coverage]:
    """Return a task's policies; in each, about half of the parameters are the default's."""
    rng = numpy_stream(number, "meta landscape")
    found = []
    for _ in range(n_policies):
        values = {name: rng.uniform(low, high) if rng.random() < 0.5 else usual
                  for name, (low, high, usual) in RANGES.items()}  # fmt: skip
        found.append(Coverage(**values))
    return found


def watched(policy: Policy, seen: list[State]) -> Policy:
    """Return the policy, which then also keeps what it saw."""

    def choose(state: State, n: int) -> Tensor:
        seen.append(state)
        return policy(state, n)

    return choose


def measure(task: Task) -> dict[str, Any]:
    """Return a task's traits and the areas of its policies, in percent."""
    states: list[State] = []
    base = simulate(task, watched(BASE, states))
    areas = [{**asdict(policy), "area": simulate(task, policy)} for policy in drawn_policies(task.seed)]
    return {
        "task": task.seed, "family": task.family, "n_classes": task.n_classes, "initial": task.initial,
        "batch_size": task.batch_size, "rounds": task.rounds, "dims": task.x.shape[1],
        "held_out": float(np.nanmean([state.held_out_accuracy for state in states] or [np.nan])),
        "base": base, "policies": areas,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("study-data"))
    parser.add_argument("--tasks", default="0:700", metavar="FIRST:END[:STEP]")
    add_families(parser)
    parser.add_argument("--out", type=Path, default=Path("landscape.jsonl"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    done = (
        {json.loads(line)["task"] for line in options.out.read_text().splitlines()} if options.out.exists() else set()
    )
    for number in range(*map(int, options.tasks.split(":"))):
        task = draw_task(number, options.families, options.data)
        if number in done or task.batch_size > MOST_QUERIED:
            continue
        line = json.dumps(measure(task))
        with open(options.out, "a", encoding="utf-8") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    main()
