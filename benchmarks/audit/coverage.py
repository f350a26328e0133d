"""How often the audit's intervals hold, in simulated projects: ``python benchmarks/audit/coverage.py``.

Each project draws a pool and a test set anew, labels 50 samples and then batches of 20, a tenth of them for the audit,
and asks after each of three numbers of labels what the audit says. The truth is the present model's accuracy on the
test set and on the rest of the pool. The model is ridge regression on one-hot classes, which takes a millisecond, with
a softmax of ten times its outputs for confidence: it need not be calibrated. About two minutes of one core.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, make_blobs

from deepal_autoal.audit.estimates import Estimate, HeldOut, plain_accuracy
from deepal_autoal.audit.folds import audit_folds
from deepal_autoal.audit.payoff import Payoff, curve_parts, payoff
from deepal_autoal.audit.report import AuditEstimate, audit_estimate
from deepal_autoal.audit.sampling import audit_order, prefix_length
from deepal_autoal.experiment.pool import draw_initial

if TYPE_CHECKING:
    from numpy.typing import NDArray

INITIAL, BATCH, ROUNDS, SHARE, FOLDS, REFERENCE = 50, 20, 10, 0.1, 10, 400
CHECKED = (2, 5, ROUNDS)
HERE = Path(__file__).parent
# Numbers of uniformly sampled labels at which the true learning curve is measured, each with so many repeats.
SIZES, REPEATS = (30, 50, 75, 100, 150, 200, 250, 300, 400, 600, 900), 40


class Ridge:
    """Ridge regression on one-hot classes."""

    def __init__(self, x: NDArray[Any], y: NDArray[Any], n_classes: int) -> None:
        self.x_mean, target = x.mean(0), np.eye(n_classes)[y]
        self.y_mean, centered, strength = target.mean(0), x - x.mean(0), np.sqrt(x.shape[1])
        if len(x) < x.shape[1]:
            gram = centered @ centered.T + strength * np.eye(len(x))
            self.weight = centered.T @ np.linalg.solve(gram, target - self.y_mean)
        else:
            gram = centered.T @ centered + strength * np.eye(x.shape[1])
            self.weight = np.linalg.solve(gram, centered.T @ (target - self.y_mean))

    def probabilities(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return class probabilities, (n, C)."""
        logits = 10 * ((x - self.x_mean) @ self.weight + self.y_mean)
        exponentials = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(1, keepdims=True))


def datasets() -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Yield names, vectors and classes."""
    x, y = load_digits(return_X_y=True)
    yield "digits", x / 16, y
    x, y = load_breast_cancer(return_X_y=True)
    yield "breast cancer", (x - x.mean(0)) / x.std(0) / 3, y
    x, y = make_blobs(6000, n_features=8, centers=6, cluster_std=3.5, random_state=1)
    yield "blobs", x / 5, y
    x, y = make_blobs([3600, 1200, 800, 300, 100], n_features=8, cluster_std=4.5, random_state=1)
    yield "imbalanced blobs", x / 5, y


@dataclass(frozen=True)
class Check:
    """What an audit said, and the truth."""

    n_labels: int
    on_test: float
    on_rest: float
    plain: Estimate
    accuracy: Estimate
    rest: Estimate
    payoff: Payoff | None
    estimate: AuditEstimate
    test: NDArray[np.bool_]
    predicted: NDArray[np.int64]


def project(
    x: NDArray[Any], y: NDArray[Any], strategy: str, seed: int, share: float = SHARE, checked: Sequence[int] = CHECKED
) -> Iterator[Check]:
    """Simulate one project.

    Args:
        x: Vectors.
        y: Classes.
        strategy: ``random``, ``margin``, or ``confident``, its opposite, which asks for what the model is surest of.
        seed: Of the project.
        share: Of each batch that is audited.
        checked: The rounds after which the audit is asked; the last one ends the project.

    Yields:
        What it said. ``test`` is whether each sample of the test set is predicted rightly, and ``predicted`` are the
        classes of a fixed sample of the pool.
    """
    n_classes, order = int(y.max()) + 1, np.random.default_rng(seed).permutation(len(x))
    test, members = np.split(order, [len(x) // 3])
    x_test, y_test, x, y = x[test], y[test], x[members], y[members]
    order = audit_order(len(x), seed, draw_initial(len(x), seed, INITIAL))
    labeled = order[:INITIAL]
    for number in range(max(checked) + 1):
        model, rest = Ridge(x[labeled], y[labeled], n_classes), np.setdiff1d(np.arange(len(x)), labeled)
        if number in checked:
            audited = order[: prefix_length(len(x), INITIAL, number * BATCH, share)]
            held_out, is_audited = cross_fit(x, y, labeled, audited, n_classes, seed)
            reference = order[-REFERENCE:]
            found = audit_estimate(
                y[labeled], held_out, is_audited,
                model.probabilities(x[np.intersect1d(reference, rest)]).max(1), np.isin(labeled, reference), len(rest),
                n_classes,
            )  # fmt: skip
            parts = curve_parts(len(audited))
            curve = np.stack([right(Ridge(x[audited[part]], y[audited[part]], n_classes), x[audited], y[audited])
                              for part in parts])  # fmt: skip
            place = {sample: row for row, sample in enumerate(labeled.tolist())}
            present = held_out.correct[[place[sample] for sample in audited.tolist()]]
            assert found.rest is not None
            worth = payoff(parts, curve, present, found.accuracy.estimate, len(labeled), seed)
            on_test = right(model, x_test, y_test)
            yield Check(
                len(labeled), on_test.mean(), right(model, x[rest], y[rest]).mean(), plain_accuracy(present),
                found.accuracy, found.rest, worth, replace(found, payoff=worth), on_test,
                model.probabilities(x[reference]).argmax(1),
            )  # fmt: skip
        due = np.setdiff1d(order[: prefix_length(len(x), INITIAL, (number + 1) * BATCH, share)], labeled)
        free = np.setdiff1d(rest, due)
        if strategy == "random":
            chosen = np.random.default_rng([seed, number]).permutation(free)
        else:
            top = np.sort(model.probabilities(x[free]), axis=1)
            margins = top[:, -1] - top[:, -2]
            chosen = free[np.argsort(-margins if strategy == "confident" else margins, kind="stable")]
        labeled = np.concatenate([labeled, due, chosen[: BATCH - len(due)]])


def cross_fit(
    x: NDArray[Any], y: NDArray[Any], labeled: NDArray[Any], audited: NDArray[Any], n_classes: int, seed: int
) -> tuple[HeldOut, NDArray[np.bool_]]:
    """Return held-out predictions of the labeled samples, and which of them are audited."""
    is_audited = np.isin(labeled, audited)
    assert is_audited.sum() == len(audited)
    folds = audit_folds(y[labeled], is_audited, FOLDS, seed)
    correct, confidence = np.zeros(len(labeled), dtype=bool), np.zeros(len(labeled))
    for fold in range(FOLDS):
        is_out = folds == fold
        model = Ridge(x[labeled[~is_out]], y[labeled[~is_out]], n_classes)
        found = model.probabilities(x[labeled[is_out]])
        correct[is_out], confidence[is_out] = found.argmax(1) == y[labeled[is_out]], found.max(1)
    return HeldOut(correct, confidence), is_audited


def right(model: Ridge, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which samples are predicted rightly."""
    return np.asarray(model.probabilities(x).argmax(1) == y)


def true_curve(x: NDArray[Any], y: NDArray[Any]) -> tuple[list[int], list[float]]:
    """Return numbers of uniformly sampled labels, and the mean test accuracies with so many."""
    sizes, means = [size for size in SIZES if size <= len(x) * 2 // 3], []
    for size in sizes:
        accuracies = []
        for seed in range(REPEATS):
            order = np.random.default_rng(seed).permutation(len(x))
            test, chosen = order[: len(x) // 3], order[len(x) // 3 : len(x) // 3 + size]
            accuracies.append(right(Ridge(x[chosen], y[chosen], int(y.max()) + 1), x[test], y[test]).mean())
        means.append(float(np.mean(accuracies)))
    return sizes, list(np.maximum.accumulate(means))


def row(name: str, strategy: str, checks: list[Check], curve: tuple[list[int], list[float]]) -> dict[str, Any]:
    """Return a row of the table."""
    on_test, on_rest = (np.array([getattr(one, name) for one in checks]) for name in ("on_test", "on_rest"))
    found: dict[str, Any] = {
        "dataset": name, "strategy": strategy, "n_labels": checks[0].n_labels, "audited": checks[0].plain.n,
        "projects": len(checks), "accuracy": on_test.mean(),
    }  # fmt: skip
    for key, truth in (("plain", on_test), ("accuracy", on_test), ("rest", on_rest)):
        low, high, mean = (
            np.array([getattr(getattr(one, key), side) for one in checks]) for side in ("low", "high", "estimate")
        )
        found |= {f"{key}_bias": (mean - truth).mean(), f"{key}_coverage": ((low <= truth) & (truth <= high)).mean(),
                  f"{key}_width": (high - low).mean()}  # fmt: skip
    answers = [one.payoff for one in checks if one.payoff is not None]
    truth = float(np.interp(on_test.mean(), curve[1], curve[0]))
    found |= {"equivalent": truth, "answers": len(answers) / len(checks)}
    if answers:
        low = np.array([one.equivalent.low for one in answers])
        high = np.array([np.inf if one.equivalent.high is None else one.equivalent.high for one in answers])
        verdicts = [one.is_paying for one in answers]
        found |= {
            "equivalent_median": np.median([one.equivalent.estimate for one in answers]),
            "equivalent_coverage": ((low <= truth) & (truth <= high)).mean(),
            "paying": verdicts.count(True) / len(checks), "not_paying": verdicts.count(False) / len(checks),
        }  # fmt: skip
    return found


def main() -> None:
    """Simulate, and write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--projects", type=int, default=200)
    parser.add_argument("--results", type=Path, default=HERE, help="folder of coverage.csv")
    options = parser.parse_args()
    rows, n_projects = [], options.projects
    for name, x, y in datasets():
        curve = true_curve(x, y)
        for strategy in ("random", "margin"):
            checks = [list(project(x, y, strategy, seed)) for seed in range(n_projects)]
            rows += [row(name, strategy, list(one), curve) for one in zip(*checks, strict=True)]
            for found in rows[-len(CHECKED) :]:
                print(" | ".join(f"{value:.3f}" if isinstance(value, float) else str(value)
                                 for value in found.values()), flush=True)  # fmt: skip
    options.results.mkdir(parents=True, exist_ok=True)
    with (options.results / "coverage.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(max(rows, key=len)))
        writer.writeheader()
        writer.writerows({key: f"{value:.4f}" if isinstance(value, float) else value for key, value in one.items()}
                         for one in rows)  # fmt: skip


if __name__ == "__main__":
    main()
