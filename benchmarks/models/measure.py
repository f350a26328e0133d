"""Makes one measurement: trains a model on drawn labels, times it, and scores its predictions on the evaluation rows.

Models are baselines by name (see baselines.py), or task models by any name or notation that the toolkit accepts.
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

# Probabilities of all models are clipped from below before the logarithm: neighbors' and trees' are often 0.
SMALLEST_PROBABILITY = 1e-6
# Options with this prefix are changes to the training recipe.
RECIPE = "recipe."


@dataclass(frozen=True)
class Model:
    """A model to measure.

    Attributes:
        name: Name of a baseline or a task model.
        options: Further arguments of `ActiveLearner` for a task model; ``recipe.NAME`` is an option of its recipe.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The model's label in results: its name with the options."""
        return " ".join([self.name, *(f"{name}={value}" for name, value in self.options.items())])

    def fits_data(self, is_image: bool) -> bool:
        """Return False for a model that needs images if the data are not images."""
        return is_image or not self.name.startswith("cnn")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one training.

    Attributes:
        accuracy: In [0, 1]; higher is better.
        nll: Mean negative log-likelihood in nats; lower is better; None without probabilities.
        seconds: CPU time of training alone.
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
        # CPU time: with one thread that is the wall time on a quiet machine, and about the same on a busy one.
        started = time.process_time()
        train()
        seconds = time.process_time() - started
        predicted, probabilities = answer()
    return Outcome(float((predicted == problem.y_eval).mean()), nll(probabilities, problem.y_eval), seconds)


def prepared_baseline(
    problem: Problem, model: Model, rows: NDArray[np.int64], seed: int
) -> tuple[Callable[[], None], Callable[[], Answer]]:
    """Return a function that trains a baseline and one that returns its predictions."""
    baseline = BASELINES[model.name]
    prepare = baseline.preparation(problem.x_pool)
    x, y = prepare(problem.x_pool[rows]), problem.y_pool[rows]
    fitted: list[Callable[[NDArray[Any]], Answer]] = []
    return lambda: fitted.append(baseline.fit(x, y, seed)), lambda: fitted[0](prepare(problem.x_eval))


def prepared_task_model(
    problem: Problem, model: Model, rows: NDArray[np.int64], seed: int
) -> tuple[Callable[[], Any], Callable[[], Answer]]:
    """Return a function that trains a task model and one that returns its predictions."""
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
    """Limit torch and the numerical libraries to one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Let the toolkit report only errors: few labels are part of the benchmark."""
    logger = logging.getLogger("deepal_autoal")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
