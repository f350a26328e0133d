"""The final task model of a run, rebuilt from its folder."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deepal_autoal.datasets.user_data.preparation import features_as_recorded
from deepal_autoal.errors import RunFolderError
from deepal_autoal.experiment.run_config import RunConfig
from deepal_autoal.experiment.run_files import (
    CHECKSUMS,
    CONFIG,
    MODEL,
    SUMMARY,
    read_config,
    read_summary,
    run_identity,
)
from deepal_autoal.files import checksum_of_file, read_tensors
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.models import ModelChoice, build_model, same_model
from deepal_autoal.models.pretrained import replaced_weights
from deepal_autoal.numerics.devices import resolve_device
from deepal_autoal.strategies.factory import recreate_from, recreate_strategy
from deepal_autoal.training.fitted_model import FittedModel
from deepal_autoal.training.inputs import Normalization
from deepal_autoal.training.predictor import Predictor
from deepal_autoal.training.recipe import Recipe
from deepal_autoal.training.trainer import Trainer, load_weights, rebuilding_trainer
from deepal_autoal.user_paths import user_path

if TYPE_CHECKING:
    from deepal_autoal.strategies.given import StrategyLike


@engine_call()
def load_model(
    folder: str | Path, device: str = "auto", strategy: StrategyLike | None = None, model: Any = None
) -> Predictor:
    """Rebuild the final task model of a run folder.

    Args:
        folder: The run folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        strategy: Needed only if the run's strategy changed training and was created in Python.
        model: Needed only if the run's model was given as an object.

    Returns:
        A `Predictor`: ``predict(samples)``, class numbers, and ``predict_proba(samples)`` on raw samples; names are
        ``class_names[number]``; ``module`` for torch.

    Raises:
        RunFolderError: If the folder holds no finished run, or a file of it is damaged.
        InputError: If the model or strategy is not the one of the run.
    """
    path = user_path(folder, "the run folder")
    for name in (CONFIG, MODEL, SUMMARY):
        if not (path / name).exists():
            raise RunFolderError(f"{path} holds no finished run: {name} is missing")
    content, expected = read_config(path), read_summary(path).get(CHECKSUMS, {})
    config = RunConfig.from_json(content, path / CONFIG)
    weights = read_tensors(path / MODEL)
    found = {CONFIG: run_identity(content), MODEL: checksum_of_file(path / MODEL)}
    for name, checksum in found.items():
        if expected.get(name) not in (None, checksum):
            raise RunFolderError(f"{path / name} is damaged or of another run: it does not match {SUMMARY}")
    if not {"normalization.mean", "normalization.std"} <= set(weights):
        raise RunFolderError(f"{path / MODEL} is not a run's model: it lacks the normalization of its inputs")
    mean, std = weights.pop("normalization.mean"), weights.pop("normalization.std")
    unit_rows = weights.pop("normalization.unit_rows", None)  # absent in earlier versions
    normalization = Normalization(mean, std, unit_rows is not None and bool(unit_rows))
    shape, n_classes = tuple(config.dataset["input_shape"]), config.dataset["n_classes"]
    target = resolve_device(device)
    recipe = Recipe(**{**config.recipe, "augmentation": tuple(config.recipe["augmentation"])})
    if model is None and config.settings.get("model") is None:
        raise RunFolderError(f"{path} was run with a model given as a Python object; pass model=")
    choice = ModelChoice.recorded(config.model) if model is None else same_model(model, config.model, path)
    choice = replace(choice, options=config.model.get("options") or {})
    trainer = Trainer(lambda: build_model(choice, shape, n_classes), recipe, target)
    if config.strategy["changes_training"]:
        if strategy is None and config.settings["strategy"] is None:
            raise RunFolderError(
                f"{path} was run with a strategy created in Python that changes training; pass strategy="
            )
        described = config.strategy
        wrapping = recreate_strategy(described) if strategy is None else recreate_from(strategy, described, path)
        trainer = rebuilding_trainer(wrapping.wrap_trainer(trainer), trainer)
    with replaced_weights():
        module = load_weights(trainer.new_objective().model, weights)
    # The precision in which the run measured its test accuracy, where that is possible.
    precision = config.precision if torch.device(config.device).type == target.type else "float32"
    fitted = FittedModel(module, device=target, recipe=recipe, seed=config.seed, precision=precision)
    prepare = partial(features_as_recorded, recorded=config.dataset.get("preparation") or {})
    return Predictor(fitted, normalization, shape, tuple(config.dataset["class_names"]), prepare)
