"""What a model scored on the test split: accuracy and, where the dataset has groups, that of each and of the worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ACCURACY, WORST_GROUP, BY_GROUP = "accuracy", "worst_group_accuracy", "group_accuracy"
# Of the task model as it is trained without the strategy, on the same labels; only recorded if asked for.
PLAIN = "plain_accuracy"


def round_scores(
    correct: NDArray[np.bool_], groups: NDArray[np.int64] | None = None, names: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the entries of a round's record: all accuracies are in [0, 1].

    Args:
        correct: Whether the predicted class of each test sample is its label, (N,).
        groups: Their groups, (N,), as in `Dataset.groups_test`.
        names: The groups' names; one without samples is left out.
    """
    scores: dict[str, Any] = {ACCURACY: float(correct.mean())}
    if groups is not None:
        found = {name: correct[groups == number] for number, name in enumerate(names)}
        by_group = {name: float(part.mean()) for name, part in found.items() if len(part)}
        scores |= {WORST_GROUP: min(by_group.values()), BY_GROUP: by_group}
    return scores


def scores_in(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of `round_scores` that a mapping holds among others."""
    return {name: stored[name] for name in (ACCURACY, WORST_GROUP, BY_GROUP) if name in stored}
