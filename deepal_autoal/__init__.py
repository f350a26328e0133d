"""Deep active learning with strategies as plugins. Importing this package imports nothing heavy."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepal_autoal.asking import Answer
    from deepal_autoal.context import LabeledView, PoolView, QueryContext
    from deepal_autoal.datasets import Dataset, load_dataset
    from deepal_autoal.errors import (
        DeepALError,
        InputError,
        PluginError,
        QueryError,
        RunFolderError,
        UnknownNameError,
    )
    from deepal_autoal.factory import create_strategy
    from deepal_autoal.fitted import FittedModel
    from deepal_autoal.hookspecs import hookimpl
    from deepal_autoal.learner import ActiveLearner
    from deepal_autoal.loop import ActiveRun, run
    from deepal_autoal.models import TaskModel
    from deepal_autoal.objective import Objective
    from deepal_autoal.optimization import without_compiler
    from deepal_autoal.plugins import plugin_host
    from deepal_autoal.randomness import global_torch_seed, stream_seed
    from deepal_autoal.recipe import Recipe
    from deepal_autoal.records import RunResult, load_model
    from deepal_autoal.registry import Registrar
    from deepal_autoal.results import load_results
    from deepal_autoal.selection import top_scores
    from deepal_autoal.strategy import Query, Requirement, ScoringStrategy, SelectorStrategy, Strategy
    from deepal_autoal.training import LabeledData, Trainer, TrainerProtocol, UnlabeledData

_HOMES = {
    "ActiveLearner": "learner",
    "ActiveRun": "loop",
    "Answer": "asking",
    "Dataset": "datasets",
    "DeepALError": "errors",
    "FittedModel": "fitted",
    "InputError": "errors",
    "LabeledData": "training",
    "LabeledView": "context",
    "Objective": "objective",
    "PluginError": "errors",
    "PoolView": "context",
    "Query": "strategy",
    "QueryContext": "context",
    "QueryError": "errors",
    "Recipe": "recipe",
    "Registrar": "registry",
    "Requirement": "strategy",
    "RunFolderError": "errors",
    "RunResult": "records",
    "ScoringStrategy": "strategy",
    "SelectorStrategy": "strategy",
    "Strategy": "strategy",
    "TaskModel": "models",
    "Trainer": "training",
    "TrainerProtocol": "training",
    "UnknownNameError": "errors",
    "UnlabeledData": "training",
    "create_strategy": "factory",
    "global_torch_seed": "randomness",
    "hookimpl": "hookspecs",
    "load_dataset": "datasets",
    "load_model": "records",
    "load_results": "results",
    "plugin_host": "plugins",
    "run": "loop",
    "stream_seed": "randomness",
    "top_scores": "selection",
    "without_compiler": "optimization",
}

__all__ = [
    "ActiveLearner",
    "ActiveRun",
    "Answer",
    "Dataset",
    "DeepALError",
    "FittedModel",
    "InputError",
    "LabeledData",
    "LabeledView",
    "Objective",
    "PluginError",
    "PoolView",
    "Query",
    "QueryContext",
    "QueryError",
    "Recipe",
    "Registrar",
    "Requirement",
    "RunFolderError",
    "RunResult",
    "ScoringStrategy",
    "SelectorStrategy",
    "Strategy",
    "TaskModel",
    "Trainer",
    "TrainerProtocol",
    "UnknownNameError",
    "UnlabeledData",
    "create_strategy",
    "global_torch_seed",
    "hookimpl",
    "load_dataset",
    "load_model",
    "load_results",
    "plugin_host",
    "run",
    "stream_seed",
    "top_scores",
    "without_compiler",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("deepal_autoal")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
