"""Judge schedules on families of tasks that they were not fitted to: the area of each policy minus that of `BASE`.

    python benchmarks/autoal/meta/proof.py landscape.jsonl --data study-data --tasks 1000:1700 --out proof.jsonl

Tasks must be others than the landscape's. For each task, the schedule is fitted to the other families:

    schedule    as `prior` makes it
    half        halfway between `BASE` and the schedule
    constant    one set of parameters for all numbers of labels per class: the schedule's in the middle
    shuffled    fitted to gains that are shuffled within each family: what chance alone would give
    alpha-1.5   `BASE` with a power of 1.5 for the uncertainty
    margin, random

Continues where it stopped; several processes can share the tasks, each with its own range and file. The last lines are
the table, of all files that are given by --also and --out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from landscape import BASE, MOST_QUERIED
from policies import Coverage, Scheduled, margin, random
from prior import KNOTS, PARAMETERS, Runs, fit, read_runs, schedule
from simulator import Policy, simulate
from tasks import add_families, draw_task

from deepal_autoal.numerics.random_streams import numpy_stream

# Labels per class at which the measured gains are shown.
BINS = (0.0, 5.0, 15.0, 50.0, np.inf)


def policies(runs: Runs) -> dict[str, Policy]:
    """Return the policies that are compared, fitted to some runs."""
    rng = numpy_stream(0, "meta shuffled")
    gains = runs.gains.copy()
    for family in np.unique(runs.families):
        own = np.flatnonzero(runs.families == family)
        gains[own] = gains[rng.permutation(own)]
    found, luck = (tuple(map(tuple, schedule(fit(one)))) for one in (runs, replace(runs, gains=gains)))
    middle = found[len(KNOTS) // 2]
    base = tuple(getattr(BASE, name) for name in PARAMETERS)
    half = tuple(tuple((a + b) / 2 for a, b in zip(base, own, strict=True)) for own in found)
    return {
        "schedule": Scheduled(KNOTS, found),
        "half": Scheduled(KNOTS, half),
        "constant": Scheduled(KNOTS, (middle,) * len(KNOTS)),
        "shuffled": Scheduled(KNOTS, luck),
        "alpha-1.5": Coverage(alpha=1.5),
        "margin": margin,
        "random": random,
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return gains over `BASE` by family and by labels per class, in points ± standard error."""
    names = list(rows[0]["areas"])
    lines = ["| tasks | number | " + " | ".join(f"`{name}`" for name in names) + " |", "|---" * (2 + len(names)) + "|"]

    def line(title: str, own: Sequence[Mapping[str, Any]]) -> str:
        gains = np.array([[row["areas"][name] - row["base"] for name in names] for row in own])
        errors = gains.std(axis=0, ddof=1) / np.sqrt(len(own))
        cells = [f"{mean:+.2f} ± {error:.2f}" for mean, error in zip(gains.mean(axis=0), errors, strict=True)]
        return f"| {title} | {len(own)} | {' | '.join(cells)} |"

    for family in dict.fromkeys(row["family"] for row in rows):
        own = [row for row in rows if row["family"] == family]
        if len(own) > 1:
            lines.append(line(family, own))
    for low, high in pairwise(BINS):
        own = [row for row in rows if low <= row["labels_per_class"] < high]
        if len(own) > 1:
            lines.append(line(f"{low:g} to {high:g} labels per class", own))
    lines.append(line("all", rows))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("landscape", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, default=Path("study-data"))
    parser.add_argument("--tasks", default="1000:1700", metavar="FIRST:END[:STEP]")
    add_families(parser)
    parser.add_argument("--out", type=Path, default=Path("proof.jsonl"))
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="files of other processes, for the table")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    runs = read_runs(options.landscape)
    by_family = {family: policies(runs.of(runs.families != family)) for family in options.families}
    lines = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    rows = [json.loads(line) for line in lines]
    done = {row["task"] for row in rows}
    for number in range(*map(int, options.tasks.split(":"))):
        task = draw_task(number, options.families, options.data)
        if number in done or task.batch_size > MOST_QUERIED:
            continue
        areas = {name: simulate(task, policy) for name, policy in by_family[task.family].items()}
        labels = (task.initial + task.batch_size * task.rounds / 2) / task.n_classes
        rows.append({"task": number, "family": task.family, "labels_per_class": round(labels, 2),
                     "base": simulate(task, BASE), "areas": areas})  # fmt: skip
        with open(options.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    for path in options.also:
        rows += [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    print(table(rows))


if __name__ == "__main__":
    main()
