"""Fit what the landscape says of the coverage policy's parameters, and write the best schedule.

    python benchmarks/autoal/meta/prior.py landscape.jsonl --out schedule.json

Model: the gain over `BASE`, in points of area, is a quadratic function of the parameters, 0 at those of `BASE`, whose
coefficients are linear in log10 of the labels per class. It is fitted by ridge regression in which every family of
tasks counts by the inverse of its variance. At each of `KNOTS`, the schedule has the parameters with the highest lower
bound, mean - `CAUTION` standard deviations of the posterior: the best of thousands of estimates is else the luckiest.
Between knots, parameters are interpolated; outside, those of the nearest knot hold.

Also printed is what the runs say without a model: the mean gain of those whose parameters lie in each of `BOXES`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARAMETERS = ("alpha", "delta", "gamma", "log_radius")
KNOTS = (0.3, 0.7, 1.1, 1.5, 1.9)
RIDGE, CAUTION, LEAST_VARIANCE = 1.0, 2.0, 0.05
# Labels per class, as log10, at which coefficients are those of the mean task.
CENTER = 1.2
# Parameters from ... to, in the order of `PARAMETERS`: one changed, the others near those of `BASE`; and all changed.
BOXES = {
    "alpha 2 to 4.5": ((2.0, 4.5), (-0.1, 0.3), (-0.6, 0.6), (-0.5, 0.5)),
    "gamma 0.4 to 1.5": ((0.7, 2.0), (-0.1, 0.4), (0.4, 1.5), (-0.5, 0.5)),
    "delta 0.2 to 0.7": ((0.7, 2.0), (0.2, 0.7), (-0.3, 0.3), (-0.5, 0.5)),
    "log_radius 0.3 to 1": ((0.7, 2.0), (-0.1, 0.3), (-0.3, 0.3), (0.3, 1.0)),
    "all as in the schedule": ((2.0, 4.5), (0.0, 0.5), (1.0, 2.0), (0.0, 1.0)),
}
# Labels per class, as log10.
BINS = (-0.5, 0.7, 1.2, 1.7, 3.0)
GRID = tuple(itertools.product(
    np.linspace(0.0, 5.0, 21), np.linspace(-0.5, 1.0, 13), np.linspace(-0.5, 2.0, 11), np.linspace(-1.0, 1.5, 11)
))  # fmt: skip


@dataclass(frozen=True)
class Runs:
    """Runs of policies beside `BASE`, one a row.

    Attributes:
        parameters: Of the policies, (n, 4).
        log_labels: log10 of the mean number of labels per class, (n,).
        gains: Points of area above `BASE`, (n,).
        families: Of the tasks, (n,).
    """

    parameters: NDArray[np.float64]
    log_labels: NDArray[np.float64]
    gains: NDArray[np.float64]
    families: NDArray[np.str_]

    def of(self, rows: NDArray[np.bool_]) -> Runs:
        """Return some of the runs."""
        return Runs(self.parameters[rows], self.log_labels[rows], self.gains[rows], self.families[rows])


def read_runs(paths: Iterable[Path]) -> Runs:
    """Return the runs of landscape files."""
    parameters, log_labels, gains, families = [], [], [], []
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            task: dict[str, Any] = json.loads(line)
            labels = task["initial"] + task["batch_size"] * task["rounds"] / 2
            for policy in task["policies"]:
                parameters.append([policy[name] for name in PARAMETERS])
                log_labels.append(np.log10(labels / task["n_classes"]))
                gains.append(policy["area"] - task["base"])
                families.append(task["family"])
    return Runs(np.array(parameters), np.array(log_labels), np.array(gains), np.array(families))


def terms(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return linear, square and product terms, (n, 14), 0 for the parameters of `BASE`."""
    alpha, delta, gamma, log_radius = np.moveaxis(parameters, -1, 0)
    own = [(np.sqrt(alpha) - 1.0) / 0.6, delta / 0.5, gamma, log_radius / 0.8]
    products = [own[i] * own[j] for i in range(4) for j in range(i, 4)]
    return np.stack([*own, *products], axis=-1)


def _design(parameters: NDArray[np.float64], log_labels: NDArray[np.float64]) -> NDArray[np.float64]:
    own = terms(parameters)
    return np.concatenate([own, own * (log_labels - CENTER)[:, None]], axis=1)


@dataclass(frozen=True)
class Surface:
    """The fitted gain.

    Attributes:
        coefficients: (28,).
        covariance: Of the coefficients, (28, 28).
    """

    coefficients: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def best(self, log_labels: float, caution: float = CAUTION) -> tuple[tuple[float, ...], float, float]:
        """Return the parameters with the highest lower bound, their mean gain and its standard deviation."""
        grid = np.array(GRID)
        design = _design(grid, np.full(len(grid), log_labels))
        mean = design @ self.coefficients
        deviation = np.sqrt(np.einsum("ij,jk,ik->i", design, self.covariance, design))
        best = int(np.argmax(mean - caution * deviation))
        return tuple(map(float, grid[best])), float(mean[best]), float(deviation[best])


def fit(runs: Runs) -> Surface:
    """Fit the gain."""
    weights = np.ones(len(runs.gains))
    for family in np.unique(runs.families):
        own = runs.families == family
        weights[own] = 1.0 / max(float(runs.gains[own].var()), LEAST_VARIANCE)
    weights /= weights.mean()
    design = _design(runs.parameters, runs.log_labels)
    precision = design.T @ (weights[:, None] * design) + RIDGE * np.eye(design.shape[1])
    coefficients = np.linalg.solve(precision, design.T @ (weights * runs.gains))
    residuals = runs.gains - design @ coefficients
    variance = float((weights * residuals**2).mean())
    return Surface(coefficients, variance * np.linalg.inv(precision))


def schedule(surface: Surface, caution: float = CAUTION) -> list[list[float]]:
    """Return the parameters at each of `KNOTS`."""
    return [list(surface.best(knot, caution)[0]) for knot in KNOTS]


def direct(runs: Runs) -> str:
    """Return mean gains of the runs in each of `BOXES`, ± standard error, by labels per class, with their numbers."""
    bounds = list(pairwise(BINS))
    titles = [f"{10**low:.0f} to {10**high:.0f}" for low, high in bounds]
    lines = [f"| parameters | {' | '.join(titles)} |", "|---" * (1 + len(bounds)) + "|"]
    for title, box in BOXES.items():
        low, high = np.array(box).T
        is_inside = ((runs.parameters >= low) & (runs.parameters <= high)).all(axis=1)
        cells = []
        for first, last in bounds:
            gains = runs.gains[is_inside & (runs.log_labels >= first) & (runs.log_labels < last)]
            error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.nan
            cells.append(f"{gains.mean():+.2f} ± {error:.2f} ({len(gains)})" if len(gains) > 1 else "")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("landscape", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("schedule.json"))
    options = parser.parse_args(arguments)
    runs = read_runs(options.landscape)
    print(direct(runs))
    surface = fit(runs)
    for knot in KNOTS:
        found, mean, deviation = surface.best(knot)
        values = ", ".join(f"{name} {value:.2f}" for name, value in zip(PARAMETERS, found, strict=True))
        print(f"{10**knot:6.1f} labels per class: {values}; gain {mean:.2f} ± {deviation:.2f}")
    values = {"version": 1, "parameters": PARAMETERS, "log10_labels_per_class": KNOTS, "values": schedule(surface)}
    options.out.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
