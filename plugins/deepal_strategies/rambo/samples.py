"""Utility samples: subsets of labeled samples, each with the accuracy of a model trained on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepal_strategies.rambo.equations import utility
from deepal_strategies.shared.validation import judges, labels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal import QueryContext

    Numbers = NDArray[np.int64]
    Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class UtilitySamples:
    """Pairs of subsets of equal size: the rows 2p and 2p + 1.

    Attributes:
        memberships: Which samples of S₀ are in each subset, bool (2P, k).
        utilities: Float64 (2P,).
        distances: Transport distances to the validation set, float64 (2P,), at least 0; 0 if they are not used.
    """

    memberships: Masks
    utilities: NDArray[np.float64]
    distances: NDArray[np.float64]

    @property
    def sizes(self) -> Numbers:
        """Size of the subsets of each pair, (P,)."""
        sizes: Numbers = self.memberships[::2].sum(axis=1)
        return sizes

    def pairs(self, numbers: Numbers) -> UtilitySamples:
        """Return some of the pairs."""
        rows = np.stack([2 * numbers, 2 * numbers + 1], axis=1).ravel()
        return UtilitySamples(self.memberships[rows], self.utilities[rows], self.distances[rows])

    @classmethod
    def joined(cls, parts: Iterable[UtilitySamples]) -> UtilitySamples:
        """Return the pairs of several samples."""
        fields = zip(*((part.memberships, part.utilities, part.distances) for part in parts), strict=True)
        return cls(*map(np.concatenate, fields))

    def split_at_median(self) -> tuple[UtilitySamples, UtilitySamples]:
        """Return the smaller half of the pairs, D_tr, and the larger one, D_val; at least one pair each."""
        order = np.argsort(self.sizes, kind="stable")
        half = max(1, len(order) // 2)
        return self.pairs(order[:half]), self.pairs(order[half:])


def draw_pairs(members: Numbers, n_samples: int, n_pairs: int, rng: np.random.Generator) -> Masks:
    """Return random pairs of subsets, bool (2·n_pairs, n_samples): uniform sizes, equal within a pair.

    Sizes are from a tenth of the members to all but one (the paper: a random size).

    Args:
        members: What subsets are drawn from, at least two positions.
        n_samples: k.
        n_pairs: P.
        rng: Draws.
    """
    memberships = np.zeros((2 * n_pairs, n_samples), dtype=bool)
    for row in range(0, 2 * n_pairs, 2):
        size = int(rng.integers(max(1, len(members) // 10), len(members)))
        for one in (row, row + 1):
            memberships[one, rng.choice(members, size, replace=False)] = True
    return memberships


class Judge:
    """Measures utilities: trains the task model on subsets, and tests it on the validation set.

    As in the paper, it is trained without augmentation or a schedule, until it has learned its samples; by the run's
    recipe otherwise.

    Args:
        context: The round.
        known: Pool indices of S₀, (k,).
        validation: Pool indices of the validation set, (V,).
        n_models: How many will be trained.

    Attributes:
        n_trained: How many have been trained.
    """

    def __init__(self, context: QueryContext, known: Numbers, validation: Numbers, n_models: int) -> None:
        self.n_trained = 0
        self._context, self._known, self._validation, self._n_models = context, known, validation, n_models
        self._labels = labels_of(judges(context), validation)
        self._recipe = dataclasses.replace(
            context.model.recipe, augmentation=(), schedule="constant", stop_at_full_accuracy=True
        )

    def measure(self, membership: Masks, purpose: str) -> float:
        """Return u(ξ) of a subset, bool (k,).

        Args:
            membership: Which samples of S₀ are in it.
            purpose: Names the random streams of the training.
        """
        learned = self._known[membership]
        with self._context.timed("training"):
            model = self._context.fit(learned, purpose, self._recipe)
            seen = self._context.rebuild(candidates=self._validation, labeled=learned, model=model, purpose=purpose)
            predicted = seen.candidates.logits().argmax(dim=1)
        self.n_trained += 1
        self._context.progress(self.n_trained, self._n_models)
        return utility(predicted, self._labels)

    def measure_all(self, memberships: Masks) -> NDArray[np.float64]:
        """Return u(ξ) of subsets, (S,)."""
        return np.array([self.measure(one, f"subset {number}") for number, one in enumerate(memberships)])
