"""One measurement: a model trained on a draw of labels, timed, and its answers on the evaluation rows scored.

Models are baselines by name (see baselines.py), or task models of the toolkit by whatever name or notation it knows.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from baselines import BASELINES, Answer
from data import Problem
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from deepal_autoal import ActiveLearner

# Probabilities are clipped from below before the logarithm, of all models alike: neighbors' and trees' are often 0.
SMALLEST_PROBABILITY = 1e-6
# Options of this prefix are changes to the training recipe.
RECIPE = "recipe."


@dataclass(frozen=True)
class Model:
    """What is measured.

    Attributes:
        name: A baseline's, or a task model's.
        options: Of a task model, further arguments of `ActiveLearner`; ``recipe.NAME`` is one of its recipe.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What the model is called in results: its name with the options."""
        return " ".join([self.name, *(f"{name}={value}" for name, value in self.options.items())])

    def fits_data(self, is_image: bool) -> bool:
        """Return False for a model that wants images where there are none."""
        return is_image or not self.name.startswith("cnn")


@dataclass(frozen=True)
class Outcome:
    """Of one training.

    Attributes:
        accuracy: In [0, 1]; higher is better.
        nll: Mean negative log-likelihood in nats; lower is better; None without probabilities.
        seconds: Processor time of training alone.
    """

    accuracy: float
    nll: float | None
    seconds: float


def measure(problem: Problem, model: Model, per_class: int, seed: int) -> Outcome:
    """Train on the seed's labels with one thread, and score."""
    rows = problem.draw(per_class, seed)
    with one_thread(), quiet():
        prepare = prepared_baseline if model.name in BASELINES else prepared_task_model
        train, answer = prepare(problem, model, rows, seed)
        # Of the processor: with one thread that is the time on a quiet machine, and on a busy one still about that.
        started = time.process_time()
        train()
        seconds = time.process_time() - started
        predicted, probabilities = answer()
    return Outcome(float((predicted == problem.y_eval).mean()), nll(probabilities, problem.y_eval), seconds)


def prepared_baseline(
    problem: Problem, model: Model, rows: NDArray[np.int64], seed: int
) -> tuple[Callable[[], None], Callable[[], Answer]]:
    """Return what trains a baseline and what gives its answers."""
    baseline = BASELINES[model.name]
    prepare = baseline.preparation(problem.x_pool)
    x, y = prepare(problem.x_pool[rows]), problem.y_pool[rows]
    fitted: list[Callable[[NDArray[Any]], Answer]] = []
    return lambda: fitted.append(baseline.fit(x, y, seed)), lambda: fitted[0](prepare(problem.x_eval))


def prepared_task_model(
    problem: Problem, model: Model, rows: NDArray[np.int64], seed: int
) -> tuple[Callable[[], Any], Callable[[], Answer]]:
    """Return what trains a task model and what gives its answers."""
    recipe = {name.removeprefix(RECIPE): value for name, value in model.options.items() if name.startswith(RECIPE)}
    options = {name: value for name, value in model.options.items() if not name.startswith(RECIPE)}
    learner = ActiveLearner(
        problem.x_pool, "random", problem.n_classes, model=model.name, recipe=recipe or None, seed=seed, device="cpu",
        **options,
    )  # fmt: skip
    learner.tell(rows, problem.y_pool[rows])

    def answer() -> Answer:
        probabilities = learner.predict_proba(problem.x_eval)
        return probabilities.argmax(axis=1), probabilities

    return learner.fit, answer


def nll(probabilities: NDArray[Any] | None, y: NDArray[np.int64]) -> float | None:
    """Return the mean negative log-likelihood; None without probabilities."""
    if probabilities is None:
        return None
    own = probabilities[np.arange(len(y)), y].astype(np.float64)
    return float(-np.log(own.clip(SMALLEST_PROBABILITY)).mean())


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and the numerical libraries compute in one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Let the toolkit report errors only: that labels are few is part of the benchmark."""
    logger = logging.getLogger("deepal_autoal")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
