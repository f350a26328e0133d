"""Runs active learning on one task in a fraction of a second: the engine's model and rules without its bookkeeping.

The model is `linear`'s softmax regression. Its penalty follows the labels from round to round: each round tries half a
decade around the last choice by cross-validation, whose held-out predictions also give accuracy and temperature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from tasks import Task
from torch import Tensor

from deepal_autoal.models.prior_strength import usual_variance
from deepal_autoal.models.softmax_regression import Features, minimize
from deepal_autoal.numerics.calibration import best_temperature, stratified_folds
from deepal_autoal.numerics.random_streams import numpy_stream, torch_stream

N_FOLDS = 3
_SPREAD = 0.7
_TOLERANCE, _MOST_STEPS = 1e-4, 60


@dataclass(eq=False)
class State:
    """What a policy sees before it chooses.

    Attributes:
        round: From 0.
        rows: Vectors of the pool, float32 (N, D).
        units: The same scaled to length 1.
        candidates: Positions that may be chosen, int64 (n,).
        labeled: Positions of the labeled samples, int64 (M,).
        labels: Their classes.
        n_classes: C.
        logits: Of the candidates, (n, C).
        temperature: What logits are divided by.
        held_out_accuracy: Of the labeled samples by cross-validation; NaN if none could be held out.
        generator: For draws.
    """

    round: int
    rows: Tensor
    units: Tensor
    candidates: Tensor
    labeled: Tensor
    labels: Tensor
    n_classes: int
    logits: Tensor
    temperature: float
    held_out_accuracy: float
    generator: torch.Generator


Policy = Callable[[State, int], Tensor]


class Model:
    """Softmax regression on features that are rotated once, so that columns are orthogonal over the pool."""

    def __init__(self, x: Tensor, n_classes: int) -> None:
        self.center = x.mean(dim=0)
        self.basis = torch.linalg.svd((x - self.center)[:4000], full_matrices=False).Vh.T
        self.n_classes = n_classes
        self.decade = 0.0
        self.weights = torch.zeros(0)
        self._start: Tensor | None = None

    def features(self, x: Tensor) -> Tensor:
        """Return rotated features, (n, r)."""
        return (x - self.center) @ self.basis

    def fit(self, rows: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, float, float]:
        """Return weights (r + 1, C), the temperature, and the held-out accuracy."""
        features = Features(rows, labels, self.n_classes)
        folds = torch.from_numpy(stratified_folds(labels.numpy(), N_FOLDS, seed))
        problems = torch.ones(1 + N_FOLDS, len(labels), dtype=rows.dtype)
        for fold in range(N_FOLDS):
            problems[1 + fold, folds == fold] = 0.0
        spread = float((rows - rows.mean(dim=0)).square().sum(dim=1).mean()) or 1.0
        usual = spread / usual_variance(rows)
        visits = {}
        tried = [self.decade]
        while tried:
            decade = tried.pop()
            weights = minimize(features, problems, usual / 10**decade, self._start, _TOLERANCE, _MOST_STEPS)[0]
            self._start = weights
            logits = torch.cat([rows[folds == f] @ weights[1 + f, :-1] + weights[1 + f, -1] for f in range(N_FOLDS)])
            own = torch.cat([labels[folds == f] for f in range(N_FOLDS)])
            loss = float(torch.nn.functional.cross_entropy(logits, own, reduction="sum")) if len(own) else 0.0
            visits[decade] = (loss + 0.5 * (decade / _SPREAD) ** 2, weights, logits, own)
            best = min(visits, key=lambda key: visits[key][0])
            if len(visits) < 4:
                tried = [decade for decade in (best + 0.5, best - 0.5) if decade not in visits][:1]
        self.decade = best
        _, self._start, logits, own = visits[best]
        accuracy = float((logits.argmax(dim=1) == own).double().mean()) if len(own) else float("nan")
        self.weights = self._start[0]
        return self.weights, best_temperature(logits, own), accuracy


def run(task: Task, policy: Policy) -> Iterator[tuple[State, Model, Tensor, Tensor]]:
    """Run a task, and yield each round's state before the query; in the last one there is none.

    Args:
        task: Data and budget.
        policy: Returns positions within ``state.candidates``, given the state and the number to choose.

    Yields:
        The state, the model, and the features (n, r) of the pool and of the test set.
    """
    x, y = torch.from_numpy(task.x), torch.from_numpy(task.y)
    model = Model(x, task.n_classes)
    rows, tested = model.features(x).double(), model.features(torch.from_numpy(task.x_test)).double()
    units = torch.nn.functional.normalize(x, dim=1)
    labeled = torch.from_numpy(numpy_stream(task.seed, "meta initial").permutation(len(x))[: task.initial].copy())
    for number in range(task.rounds + 1):
        seed = 1000 * task.seed + number
        weights, temperature, held_out = model.fit(rows[labeled], y[labeled], seed)
        is_open = torch.ones(len(x), dtype=torch.bool)
        is_open[labeled] = False
        candidates = is_open.nonzero().squeeze(1)
        state = State(
            number, x, units, candidates, labeled, y[labeled], task.n_classes,
            (rows[candidates] @ weights[:-1] + weights[-1]).float(), temperature, held_out,
            torch_stream(seed, "meta policy"),
        )  # fmt: skip
        yield state, model, rows, tested
        if number < task.rounds:
            chosen = policy(state, task.batch_size)
            labeled = torch.cat([labeled, candidates[chosen]])


def simulate(task: Task, policy: Policy) -> float:
    """Return the area under the accuracy curve, in percent, over the task's labels; the same task and policy, the same.

    The arguments are those of `run`.
    """
    y_test, accuracies = torch.from_numpy(task.y_test), []
    for _, model, _, tested in run(task, policy):
        logits = tested @ model.weights[:-1] + model.weights[-1]
        accuracies.append(float((logits.argmax(dim=1) == y_test).double().mean()))
    return 100.0 * float(np.mean((np.array(accuracies[1:]) + accuracies[:-1]) / 2))
