"""Creates a pool of embeddings, a linear model trained on a part of it, and the outputs that all ways are given."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepal_autoal import ActiveLearner, Strategy, create_strategy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal import QueryContext

N_PASSES, N_MEMBERS, N_SHARED_PASSES = 10, 5, 100
# Options that keep a slow strategy's query within seconds; tables name them.
OPTIONS = {"vaal": {"epochs": 1}}
# Options of the rule alone, where other implementations lack the default: plain code trains no pairwise network.
RULE_OPTIONS = {"exploit-explore": {"similarity": "embeddings"}}
# Strategies that need a model with stages.
MODELS = {"lpl": "mlp"}
RECIPE = {"min_steps": 100, "precision": "float32"}


class Problem:
    """N candidates and M labeled samples of a mixture of overlapping Gaussians, one per class.

    Args:
        n: Number of candidates.
        n_classes: Number of classes.
        n_dims: Dimensions of an embedding.
        n_labeled: Number of labeled samples.
    """

    def __init__(self, n: int, n_classes: int, n_dims: int, n_labeled: int) -> None:
        rng = np.random.default_rng(0)
        size = n + n_labeled
        self.labels = rng.integers(n_classes, size=size)
        self.labels[:n_classes] = np.arange(n_classes)
        centers = rng.normal(size=(n_classes, n_dims), scale=0.12).astype(np.float32)
        self.pool = rng.standard_normal(size=(size, n_dims), dtype=np.float32)
        self.pool += centers[self.labels]
        self.n_classes = n_classes
        self.labeled = np.arange(n_labeled)
        self._plain = self._new_learner(Strategy(), "linear")
        self._plain.fit()

    def learner(self, name: str) -> ActiveLearner:
        """Return a learner with a trained model that has not passed over the pool yet."""
        strategy = create_strategy(name, **OPTIONS.get(name, {}))
        learner = self._new_learner(strategy, MODELS.get(name, "linear"))
        state = None if strategy.changes_training or name in MODELS else self._plain.adoptable_state()
        if state is None:
            learner.fit()
        else:
            learner.adopt(state)
        return learner

    @cached_property
    def context(self) -> QueryContext:
        """A round's context; all strategies share its views and their computed outputs."""
        return self._plain._context(self._plain.fit(), self._plain.unlabeled_indices)

    @cached_property
    def outputs(self) -> Outputs:
        """The same outputs for the other implementations."""
        return Outputs(self.context)

    def prepare(self, needs: frozenset[str]) -> None:
        """Compute the outputs that a strategy needs, so only its rule is measured."""
        candidates, labeled = self.context.candidates, self.context.labeled
        for view in (candidates, labeled):
            view.logits(), view.probabilities(), view.log_probabilities(), view.embeddings()
        if "gradients" in needs:
            candidates.gradient_factors()
        if "mc_dropout" in needs:
            candidates.mc_probabilities(N_PASSES)
        if {"embeddings", "probabilities"} <= needs:
            candidates.calibrated_log_probabilities()
        if "ensemble" in needs:
            candidates.ensemble_probabilities(N_MEMBERS)

    def _new_learner(self, strategy: Strategy, model: str) -> ActiveLearner:
        learner = ActiveLearner(
            self.pool, strategy, self.n_classes, model=model, recipe=RECIPE, device="cpu", n_rounds=10
        )
        learner.tell(self.labeled, self.labels[self.labeled])
        return learner


class Outputs:
    """Outputs as NumPy arrays, float32, that share memory with the views' tensors."""

    def __init__(self, context: QueryContext) -> None:
        self._context = context

    def __len__(self) -> int:
        return len(self._context.candidates)

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Shape (N, C)."""
        return self._context.candidates.probabilities().numpy()

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """Shape (N, D)."""
        return self._context.candidates.embeddings().numpy()

    @property
    def passes(self) -> NDArray[np.float32]:
        """Probabilities of dropout passes, (T, N, C)."""
        return self._context.candidates.mc_probabilities(N_PASSES).numpy()

    @property
    def shared_passes(self) -> NDArray[np.float32]:
        """Probabilities of passes that each are one draw of the weights, (K, N, C), computed at every request."""
        view = self._context.candidates
        return view.shared_mc_probabilities(N_SHARED_PASSES, np.arange(len(view))).numpy()

    @property
    def calibrated_probabilities(self) -> NDArray[np.float32]:
        """Shape (N, C)."""
        return self._context.candidates.calibrated_log_probabilities().exp().numpy()

    @property
    def members(self) -> NDArray[np.float32]:
        """Probabilities of ensemble members, (M, N, C)."""
        return self._context.candidates.ensemble_probabilities(N_MEMBERS).numpy()

    @property
    def labeled_embeddings(self) -> NDArray[np.float32]:
        """Embeddings of the labeled samples, (L, D)."""
        return self._context.labeled.embeddings().numpy()

    @property
    def labeled_outputs(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities and embeddings of the labeled samples, (L, C) and (L, D)."""
        return self._context.labeled.probabilities().numpy(), self.labeled_embeddings

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels of the labeled samples, (L,)."""
        return self._context.labeled.labels.numpy()

    @property
    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Factors of the gradient embeddings, (N, C) and (N, D)."""
        return self._context.candidates.gradient_factors()

    def rows_of(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of pool indices."""
        return np.searchsorted(self._context.candidates.indices, indices)
