"""What a strategy chooses on one small two-dimensional dataset, the same for all strategies, to be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.errors import DeepALError, error_message
from deepal_autoal.experiment.learner import ActiveLearner
from deepal_autoal.numerics.random_streams import numpy_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal.strategies.given import StrategyLike

BATCH_SIZE = 12
SEED = 0
MODEL = "mlp"
# Strategies that plan with the number of rounds get one.
N_ROUNDS = 10
_LABELED_PER_CLASS = 4
_GRID = 60

# Class, center, deviation and size of each group of samples: three classes, of which two touch; many near-duplicates
# where they touch, whose choice is a waste; a group that no label resembles; and outliers.
_GROUPS = (
    (0, (-1.6, -0.6), 0.55, 70), (1, (1.5, -0.6), 0.55, 70), (2, (0.1, 1.9), 0.5, 55),
    (1, (0.15, -0.75), 0.07, 40), (0, (-2.9, 2.3), 0.22, 25), (2, (2.7, 2.4), 0.8, 8),
)  # fmt: skip
_LABELED_GROUPS = 3


@dataclass(frozen=True)
class ToyChoice:
    """A choice, and what it was made from.

    Attributes:
        x: All samples, float32 (N, 2).
        y: Their classes, int64 (N,), of which the strategy knew those of ``labeled``.
        labeled: Indices of the labeled samples.
        chosen: Those of the batch, in the strategy's order; none if it failed.
        grid: Coordinates of a grid over the samples, float32 (G,), on both axes.
        predicted: The class that the model predicts there, int64 (G, G), row by row from below; None without a model.
        failure: Why there is no choice, in a line; empty if there is one.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    labeled: NDArray[np.int64]
    chosen: NDArray[np.int64]
    grid: NDArray[np.float32]
    predicted: NDArray[np.int64] | None
    failure: str = ""


def toy_choice(strategy: StrategyLike) -> ToyChoice:
    """Return a strategy's choice of 12 among 256 samples, with 12 others labeled and the model ``mlp`` trained on them.

    Args:
        strategy: As for `ActiveLearner`; its options are the defaults.
    """
    x, y, labeled = toy_data()
    nothing = np.empty(0, dtype=np.int64)
    grid = np.linspace(x.min() - 0.3, x.max() + 0.3, _GRID, dtype=np.float32)
    predicted = None
    try:
        learner = ActiveLearner(x, strategy, 3, model=MODEL, seed=SEED, device="cpu", n_rounds=N_ROUNDS)
        learner.tell(labeled, y[labeled])
        points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
        predicted = learner.predict(points).reshape(_GRID, _GRID)
        chosen = learner.ask(BATCH_SIZE)
    except DeepALError as error:
        return ToyChoice(x, y, labeled, nothing, grid, predicted, " ".join(error_message(error).split()))
    return ToyChoice(x, y, labeled, chosen, grid, predicted)


def toy_data() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return the samples (N, 2), their classes (N,) and the indices of the labeled ones, always the same."""
    stream = numpy_stream("toy choice")
    parts = [stream.normal(center, deviation, size=(size, 2)) for _, center, deviation, size in _GROUPS]
    y = np.repeat([label for label, *_ in _GROUPS], [size for *_, size in _GROUPS])
    starts = np.cumsum([0, *(size for *_, size in _GROUPS)])
    labeled = [
        start + stream.choice(size, _LABELED_PER_CLASS, replace=False)
        for start, (*_, size) in zip(starts[:_LABELED_GROUPS], _GROUPS, strict=False)
    ]
    return np.concatenate(parts).astype(np.float32), y.astype(np.int64), np.concatenate(labeled).astype(np.int64)
