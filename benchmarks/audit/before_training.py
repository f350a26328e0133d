"""How often intervals from answers before training hold: ``python benchmarks/audit/before_training.py``.

The projects of `coverage`, without cross-fitting: before a batch is learned, the present model predicts it
(``--audit-folds 0``). About four minutes of one core.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from coverage import BATCH, INITIAL, REFERENCE, ROUNDS, Ridge, datasets, right

from deepal_autoal.audit.before_training import estimate_before_training
from deepal_autoal.audit.estimates import Estimate, HeldOut, plain_accuracy
from deepal_autoal.audit.sampling import audit_order, prefix_length
from deepal_autoal.experiment.pool import draw_initial

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHECKED, SHARES = (5, 10), (0.1, 0.3)
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Check:
    """What the answers said, and the truth."""

    n_labels: int
    on_test: float
    on_rest: float
    plain: Estimate
    accuracy: Estimate
    rest: Estimate


def project(x: NDArray[Any], y: NDArray[Any], strategy: str, share: float, seed: int) -> Iterator[Check]:
    """Simulate one project."""
    n_classes, order = int(y.max()) + 1, np.random.default_rng(seed).permutation(len(x))
    test, members = np.split(order, [len(x) // 3])
    x_test, y_test, x, y = x[test], y[test], x[members], y[members]
    order = audit_order(len(x), seed, draw_initial(len(x), seed, INITIAL))
    labeled = order[:INITIAL]
    # Of audited and of chosen samples: whether right, confidence, label.
    audited: list[tuple[bool, float, int]] = []
    chosen: list[tuple[bool, float, int]] = []
    for number in range(ROUNDS + 1):
        model, rest = Ridge(x[labeled], y[labeled], n_classes), np.setdiff1d(np.arange(len(x)), labeled)
        if number in CHECKED:
            correct, confidence, labels = (np.array(column) for column in zip(*audited, strict=True))
            found = estimate_before_training(
                HeldOut(correct, confidence), labels, np.array([one[0] for one in chosen]),
                model.probabilities(x[np.intersect1d(order[-REFERENCE:], rest)]).max(1),
                y[order[: prefix_length(len(x), INITIAL, number * BATCH, share)]], len(x), len(rest), n_classes,
            )  # fmt: skip
            assert found.rest is not None
            yield Check(
                len(labeled), right(model, x_test, y_test).mean(), right(model, x[rest], y[rest]).mean(),
                plain_accuracy(correct), found.accuracy, found.rest,
            )  # fmt: skip
        due = np.setdiff1d(order[: prefix_length(len(x), INITIAL, (number + 1) * BATCH, share)], labeled)
        free = np.setdiff1d(rest, due)
        if strategy == "random":
            best = np.random.default_rng([seed, number]).permutation(free)
        else:
            top = np.sort(model.probabilities(x[free]), axis=1)
            best = free[np.argsort(top[:, -1] - top[:, -2], kind="stable")]
        best = best[: BATCH - len(due)]
        for answers, rows in ((audited, due), (chosen, best)):
            if len(rows):
                outputs = model.probabilities(x[rows])
                answers += zip((outputs.argmax(1) == y[rows]).tolist(), outputs.max(1).tolist(), y[rows].tolist(),
                               strict=True)  # fmt: skip
        labeled = np.concatenate([labeled, due, best])


def row(name: str, strategy: str, share: float, checks: list[Check]) -> dict[str, Any]:
    """Return a row of the table; ``plain`` is compared with the rest of the pool, which it is a test of."""
    on_test, on_rest = (np.array([getattr(one, key) for one in checks]) for key in ("on_test", "on_rest"))
    found: dict[str, Any] = {
        "dataset": name, "strategy": strategy, "share": share, "n_labels": checks[0].n_labels,
        "answers": float(np.mean([one.plain.n for one in checks])), "projects": len(checks),
        "accuracy": on_test.mean(), "on_rest": on_rest.mean(),
    }  # fmt: skip
    for key, truth in (("plain", on_rest), ("accuracy", on_test), ("rest", on_rest)):
        low, high, mean = (
            np.array([getattr(getattr(one, key), side) for one in checks]) for side in ("low", "high", "estimate")
        )
        found |= {f"{key}_bias": (mean - truth).mean(), f"{key}_coverage": ((low <= truth) & (truth <= high)).mean(),
                  f"{key}_width": (high - low).mean()}  # fmt: skip
    return found


def main() -> None:
    """Simulate, and write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--projects", type=int, default=200)
    parser.add_argument("--results", type=Path, default=HERE, help="folder of before_training.csv")
    options = parser.parse_args()
    rows, n_projects = [], options.projects
    for name, x, y in datasets():
        for strategy in ("random", "margin"):
            for share in SHARES:
                checks = [list(project(x, y, strategy, share, seed)) for seed in range(n_projects)]
                rows += [row(name, strategy, share, list(one)) for one in zip(*checks, strict=True)]
                for found in rows[-len(CHECKED) :]:
                    print(" | ".join(f"{value:.3f}" if isinstance(value, float) else str(value)
                                     for value in found.values()), flush=True)  # fmt: skip
    options.results.mkdir(parents=True, exist_ok=True)
    with (options.results / "before_training.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({key: f"{value:.4f}" if isinstance(value, float) else value for key, value in one.items()}
                         for one in rows)  # fmt: skip


if __name__ == "__main__":
    main()
