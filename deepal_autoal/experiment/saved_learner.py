"""A learner as plain data: the file that `ActiveLearner.save` writes, and the state of its model and strategy."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepal_autoal.datasets.user_data.sentence_models import TF_IDF
from deepal_autoal.errors import InputError
from deepal_autoal.files import encode, read_tensors, write_tensors
from deepal_autoal.isolation.blame import blaming
from deepal_autoal.isolation.guards import guarded
from deepal_autoal.models import ModelChoice, same_model
from deepal_autoal.models.pretrained import replaced_weights
from deepal_autoal.plugins.references import is_reference
from deepal_autoal.strategies.factory import recreate_from, recreate_strategy
from deepal_autoal.training.fitted_model import FittedModel
from deepal_autoal.training.recipe import Recipe
from deepal_autoal.training.samples import as_samples
from deepal_autoal.training.trainer import Trainer, load_weights

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from deepal_autoal.querying.strategy import Strategy
    from deepal_autoal.strategies.given import StrategyLike

FORMAT = 2


@dataclass(frozen=True)
class SavedLearner:
    """Everything about a learner except its pool.

    Attributes:
        strategy: The strategy, as `describe_strategy` describes it.
        n_classes, n_rounds, model, recipe, seed: As the learner has them.
        scaling: Likewise; None in files from before it was a choice.
        members: The pool indices in use, int64.
        pool: The fingerprint of the pool's samples.
        state: The learner's `state_dict`.
        audit: The audit's share of each batch and number of folds; None without one.
        class_names: Names of the classes; empty without.
        model_code: Digest of the model, if it was given as an object or by where it is defined; else empty.
        validation: Pool indices and labels of the samples held out for validation; None without any.
        text_model: What made vectors of texts, TF-IDF in files from before it was a choice; empty without texts.
    """

    strategy: Mapping[str, Any]
    n_classes: int
    n_rounds: int | None
    model: ModelChoice
    recipe: Recipe
    scaling: str | None
    seed: int
    members: NDArray[np.int64]
    pool: str
    state: Mapping[str, Any]
    audit: tuple[float, int] | None = None
    class_names: tuple[str, ...] = ()
    model_code: str = ""
    validation: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    text_model: str = ""

    def write(self, path: Path) -> None:
        """Write the file, atomically.

        Raises:
            RunFolderError: If it cannot be written, or the strategy's state cannot be stored in a file.
        """
        write_tensors(
            path,
            {
                "format": FORMAT,
                "strategy": self.strategy,
                "n_classes": self.n_classes,
                "n_rounds": self.n_rounds,
                "model": self.model.name,
                "model_options": self.model.describe()["options"],
                "model_code": self.model_code,
                "recipe": asdict(self.recipe),
                "scaling": self.scaling,
                "seed": self.seed,
                "members": self.members,
                "pool": self.pool,
                "state": self.state,
                **({} if self.audit is None else {"audit": list(self.audit)}),
                **({"class_names": list(self.class_names)} if self.class_names else {}),
                **({} if self.validation is None else {"validation": list(self.validation)}),
                **({"text_model": self.text_model} if self.text_model else {}),
            },
        )

    @classmethod
    def read(cls, path: Path) -> SavedLearner:
        """Read a file that `write` wrote.

        Raises:
            RunFolderError: If it cannot be read.
            InputError: If it is in another format.
        """
        saved = read_tensors(path)
        version = saved.get("format")
        if version != FORMAT or "state" not in saved:
            is_newer = isinstance(version, int) and version > FORMAT
            advice = ": a newer version of deepal_autoal wrote it; update deepal_autoal" if is_newer else ""
            raise InputError(f"{path} is not a learner that this version can read (format {version!r}){advice}")
        unknown = set(saved["recipe"]) - {item.name for item in fields(Recipe)}
        if unknown:
            raise InputError(
                f"{path} holds training settings that this version does not know ({', '.join(sorted(unknown))}): it "
                "was written by a newer version of deepal_autoal; update deepal_autoal"
            )
        return cls(
            strategy=saved["strategy"],
            n_classes=saved["n_classes"],
            n_rounds=saved["n_rounds"],
            model=ModelChoice(saved["model"], saved.get("model_options", {})),
            recipe=Recipe(**{**saved["recipe"], "augmentation": tuple(saved["recipe"]["augmentation"])}),
            scaling=saved.get("scaling"),
            seed=saved["seed"],
            members=saved["members"],
            pool=saved["pool"],
            state=saved["state"],
            audit=tuple(saved["audit"]) if "audit" in saved else None,
            class_names=tuple(saved.get("class_names", ())),
            model_code=saved.get("model_code", ""),
            validation=tuple(saved["validation"]) if "validation" in saved else None,
            text_model=saved.get("text_model", TF_IDF),
        )

    def arguments(self, pool: Any, strategy: StrategyLike | None, model: Any, path: Path) -> dict[str, Any]:
        """Return the arguments, except the device, with which the learner is created again.

        Args:
            pool: The same samples.
            strategy: The strategy; by default it is created by its name.
            model: Likewise.
            path: The file, for messages.

        Raises:
            InputError: If the strategy or model is another one, or the model must be given.
        """
        choice: Any = self.model
        if model is not None and not isinstance(model, str):
            choice = replace(
                same_model(model, {"name": choice.name, "code": self.model_code}, path), options=choice.options
            )
        elif model is not None:
            choice = model
        elif self.model_code and not is_reference(choice.name):
            raise InputError(f"{path} was saved with a model given as an object; pass model=")
        return {
            "pool": pool,
            "strategy": recreate_strategy(self.strategy)
            if strategy is None
            else recreate_from(strategy, self.strategy, path),
            "n_classes": self.n_classes,
            "model": choice,
            "recipe": self.recipe,
            "seed": self.seed,
            "members": self.members,
            "n_rounds": self.n_rounds,
            # Learners saved before scaling became a choice scaled each feature.
            "scaling": self.scaling or ("auto" if as_samples(pool, "pool").ndim == 4 else "feature"),
            **({"class_names": self.class_names} if self.class_names else {}),
            **({} if self.audit is None else {"audit": self.audit[0], "audit_folds": self.audit[1]}),
            "validation": self._written_validation(),
            "text_model": self.text_model or TF_IDF,
        }

    def _written_validation(self) -> tuple[Any, Any] | None:
        """Return the validation set with labels by name, where there are names: numbers could be names too."""
        if self.validation is None or not self.class_names:
            return self.validation
        rows, labels = self.validation
        return rows, [self.class_names[label] for label in labels.tolist()]


def model_state(model: FittedModel) -> dict[str, Any]:
    """Return what `restored_model` needs: the objective's weights, the metrics and the precision."""
    return {"model": dict(model.objective.state_dict()), "metrics": dict(model.metrics), "precision": model.precision}


def restored_model(
    state: Mapping[str, Any], trainer: Trainer, *, device: torch.device, recipe: Recipe, seed: int
) -> FittedModel:
    """Return a trained model from its `model_state`.

    Args:
        state: The state.
        trainer: The trainer that rebuilds the model.
        device: Where it computes.
        recipe: How it was trained.
        seed: With which seed.

    Raises:
        InputError: If the weights do not fit the model.
    """
    with replaced_weights():
        objective = load_weights(trainer.new_objective(), state["model"])
    return FittedModel(
        objective.model, device=device, recipe=recipe, seed=seed, metrics=state["metrics"],
        precision=state["precision"], objective=objective,
    )  # fmt: skip


def strategy_state(strategy: Strategy) -> dict[str, Any]:
    """Return a copy of a strategy's state, after checking that a file can hold it."""
    with guarded(strategy, "state_dict"), blaming(strategy, "state_dict"):
        state = copy.deepcopy(strategy.state_dict())  # the strategy may keep changing its own
        encode(state, "state_dict()")
    return state


def load_strategy_state(strategy: Strategy, state: Mapping[str, Any]) -> None:
    """Restore a strategy's state, blaming the strategy if it fails."""
    with guarded(strategy, "load_state_dict"), blaming(strategy, "load_state_dict"):
        strategy.load_state_dict(state)
