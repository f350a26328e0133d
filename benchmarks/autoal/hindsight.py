"""Defines the oracle: the best single candidate of each round, in hindsight. Not a strategy: it sees the test set."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepal_autoal import (
    ActiveLearner,
    Dataset,
    InputError,
    Query,
    QueryContext,
    SelectorStrategy,
    create_strategy,
)  # fmt: skip
from deepal_autoal.training.scaling import resolve_scaling


class Hindsight(SelectorStrategy):
    """NOT A STRATEGY. Tries every candidate's batch with its true labels and queries the one of highest test accuracy.

    In each round every candidate selects its batch (with the diverse final stage, as a vote of that candidate alone),
    the task model is trained on the labeled set and that batch exactly as the run would do next, and its accuracy on
    the test set decides. This is greedy, one round ahead: the most that a selector of one candidate a round could gain
    in the next round, not over the whole run. It needs the dataset's labels, is never registered, and is marked as an
    oracle in tables.

    Args:
        data: The run's dataset, with all its labels.
        candidates: Names of the candidates.
        model: The run's task model.
        seed: The run's seed.
        options: Options of the votes, such as ``final`` and ``oversample``.
    """

    def __init__(
        self, data: Dataset, candidates: Sequence[str], model: str, seed: int, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__({name: create_strategy("vote", [name], **(options or {})) for name in candidates})
        self.name = "hindsight"
        self.options = {"is_oracle": True}
        self._data = data
        self._model = model
        self._seed = seed
        self._scaling = resolve_scaling(None, data.x_train, data.is_embeddings).name  # as the run does

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch of the best candidate; the report names it and contains all accuracies, in [0, 1]."""
        batches = {name: self.ask_candidate(name, context, batch_size) for name in self.candidates}
        accuracies = {name: self._accuracy_after(context, batch) for name, batch in batches.items()}
        best = max(accuracies, key=lambda name: accuracies[name])
        return Query(batches[best], {"is_oracle": True, "chosen": best, "accuracies": accuracies})

    def _accuracy_after(self, context: QueryContext, batch: np.ndarray) -> float:
        """Return the test accuracy of the next round if this batch is labeled now."""
        data, recipe = self._data, context.model.recipe
        if recipe.warm_start:
            raise InputError("the oracle trains from new weights and cannot predict a run with warm_start; turn it off")
        members = np.union1d(context.candidates.indices, context.labeled.indices)
        learner = ActiveLearner(
            data.x_train, "random", data.n_classes, model=self._model, recipe=recipe, seed=self._seed,
            device=context.device, members=members if len(members) < len(data.x_train) else None,
            n_rounds=context.n_rounds, scaling=self._scaling,
        )  # fmt: skip
        # In the run's order, which determines the order of training, as does the round's number.
        known = np.concatenate([context.labeled.indices, batch])
        learner.tell(known, data.y_train[known])
        learner.round = context.round
        return float((learner.predict(data.x_test) == data.y_test).mean())
