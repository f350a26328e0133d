"""The WAAL strategy: uncertain candidates that a critic, trained with the model, tells from the labeled ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch

from deepal_autoal import QueryError, ScoringStrategy, Trainer, stream_seed
from deepal_strategies.shared.option_checks import check_at_least, check_choice, check_positive
from deepal_strategies.shared.row_blocks import SCORES, SMALL_NETWORK, by_rows
from deepal_strategies.waal.objective import Settings, UnlabeledStream, WassersteinObjective

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import FittedModel, LabeledData, QueryContext, Recipe, TaskModel, TrainerProtocol, UnlabeledData


class WAAL(ScoringStrategy):
    """Wasserstein adversarial active learning (Shui, Zhou, Gagné & Wang, AISTATS 2020).

    The task model is trained to classify, and to make embeddings of labeled and unlabeled samples alike; a critic D is
    trained to tell them apart, with a penalty on its gradients (see `WassersteinObjective`). With γ, the ratio of
    labeled to unlabeled samples, the model minimizes CE + α (E_U D - γ E_L D). The score is
    -½ ‖log p‖₂ - ½ Σ_c -log p_c + ``selection`` · D(z): small bounds of the loss of any label, and far from the
    labeled samples.

    Where paper and released code differ: the code's critic *maximizes* the gradient penalty, by its sign; here, as in
    the paper, it minimizes it. The code adds a penalty without any gradient to the model's loss; it is left out. Both
    step the critic after the model, here before it, by Adam, of which the scale of its loss is no matter.

    The published training passes over the larger of both sets in an epoch, which takes many more steps than any other
    strategy's, and the difference in accuracy is partly due to them: with ``steps="equal"``, the steps are those of
    the recipe. The recorded training loss contains the critic's term.

    Args:
        steps: ``published``: epochs over the larger set, though never fewer steps than the recipe's; ``equal``: as
            many as other strategies have.
        alpha: α.
        gamma: γ; by default the labeled samples divided by the unlabeled ones.
        selection: Weight of D in the score.
        penalty: Weight of the gradient penalty in the critic's loss.
        critic_learning_rate: Learning rate of the critic.
        critic_steps: Steps of the critic for each of the model.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"probabilities", "embeddings"})

    def __init__(
        self,
        steps: Literal["published", "equal"] = "published",
        alpha: float = 1e-3,
        gamma: float | None = None,
        selection: float = 10.0,
        penalty: float = 2.0,
        critic_learning_rate: float = 1e-3,
        critic_steps: int = 1,
    ) -> None:
        check_choice("steps", steps, ("published", "equal"))
        for name, value in (("alpha", alpha), ("selection", selection), ("penalty", penalty)):
            check_at_least(name, value, 0)
        if gamma is not None:
            check_at_least("gamma", gamma, 0)
        check_positive("critic_learning_rate", critic_learning_rate)
        check_at_least("critic_steps", critic_steps, 1)
        self.steps = steps
        self.gamma = gamma
        self.selection = selection
        self.settings = Settings(alpha, penalty, critic_learning_rate, critic_steps)

    def wrap_trainer(self, trainer: Trainer) -> TrainerProtocol:
        """Return a trainer that uses the unlabeled samples too."""
        return WassersteinTrainer(trainer, self.settings, self.gamma, self.steps == "published")

    def score(self, context: QueryContext) -> Tensor:
        """Return the score, float32 (N,).

        Raises:
            QueryError: If the model was not trained with a critic.
        """
        objective = context.model.objective
        if not isinstance(objective, WassersteinObjective):
            raise QueryError(
                f"{self} needs a model that was trained with its critic; use it as a run's own strategy, not as a "
                "candidate of another"
            )
        embeddings = context.candidates.embeddings()
        with torch.no_grad():
            critic = by_rows(objective.critic, embeddings, SMALL_NETWORK)
        bounds = by_rows(loss_bounds, context.candidates.log_probabilities(), SCORES)
        context.report(wasserstein=context.model.metrics.get("wasserstein"), mean_critic=float(critic.mean()))
        return self.selection * critic - bounds


class WassersteinTrainer(Trainer):
    """Trains task models with a critic on their embeddings of labeled and unlabeled samples.

    Args:
        trainer: The run's trainer.
        settings: See `WAAL`.
        gamma: γ; None for the ratio of the sets.
        is_published: Whether an epoch passes over the larger set.
    """

    def __init__(self, trainer: Trainer, settings: Settings, gamma: float | None, is_published: bool) -> None:
        def objective(model: TaskModel) -> WassersteinObjective:
            return WassersteinObjective(model, settings)

        super().__init__(trainer.build, trainer.recipe, trainer.device, objective)
        self._settings, self._gamma, self._is_published = settings, gamma, is_published

    def fit(
        self,
        labeled: LabeledData,
        unlabeled: UnlabeledData,
        *,
        seed: int,
        initial_state: Mapping[str, Tensor] | None = None,
        recipe: Recipe | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> FittedModel:
        """Return a trained model (see `Trainer.fit`)."""
        given = recipe or self.recipe
        recipe, objective = given, self.objective
        n_labeled, n_unlabeled = len(labeled.indices), len(unlabeled.indices)
        if n_unlabeled:
            stream = UnlabeledStream(unlabeled, given.augmentation, stream_seed(seed, "unlabeled"))
            gamma = n_labeled / n_unlabeled if self._gamma is None else self._gamma

            def objective(model: TaskModel) -> WassersteinObjective:
                return WassersteinObjective(model, self._settings, stream, gamma)

            if self._is_published:
                recipe = replace(given, epochs=published_epochs(given, n_labeled, n_unlabeled))
        trainer = Trainer(self.build, given, self.device, objective)
        fitted = trainer.fit(
            labeled, unlabeled, seed=seed, initial_state=initial_state, recipe=recipe, progress=progress
        )
        fitted.recipe = given  # further models get as many epochs more, of their own
        if isinstance(fitted.objective, WassersteinObjective):
            fitted.objective.stream = None
        return fitted


def published_epochs(recipe: Recipe, n_labeled: int, n_unlabeled: int) -> int:
    """Return the epochs over the labeled samples that take as many steps as the recipe's over the larger set."""
    n_steps = recipe.epochs * math.ceil(max(n_labeled, n_unlabeled) / recipe.train_batch_size)
    return max(recipe.epochs, math.ceil(n_steps / recipe.n_batches(n_labeled)))


def loss_bounds(log_probabilities: Tensor) -> Tensor:
    """Return ½ ‖log p‖₂ + ½ Σ_c -log p_c, (n,), of log-probabilities (n, C): two bounds of the loss of any label."""
    bounds: Tensor = 0.5 * (torch.linalg.vector_norm(log_probabilities, dim=1) - log_probabilities.sum(dim=1))
    return bounds
