"""Modules that have moved: the paths of version 0.1.0 keep working, with a warning.

Only the names in `deepal_autoal` itself and in its packages are public, but plugins may have imported others.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# The policy is in docs/upgrading.md: two minor versions with a warning.
REMOVED_IN = "0.4.0"

MOVED = {
    "asking": "querying.asking",
    "augmentation": "training.augmentation",
    "averaging": "training.averaging",
    "benchmark.admission": "benchmark.checks",
    "benchmark.brief_training": "benchmark.cost.brief_training",
    "benchmark.collected": "benchmark.backends.folder_transfer",
    "benchmark.dry_run": "benchmark.cost.dry_run",
    "benchmark.estimates": "benchmark.cost.estimates",
    "benchmark.growth": "benchmark.cost.extrapolation",
    "benchmark.job": "benchmark.backends.job",
    "benchmark.ladder": "benchmark.cost.probe_sizes",
    "benchmark.probe": "benchmark.cost.probe",
    "benchmark.processes": "benchmark.backends.processes",
    "benchmark.run_cost": "benchmark.cost.run_cost",
    "benchmark.worker": "benchmark.backends.worker",
    "calibration": "numerics.calibration",
    "candidates": "strategies.candidate_sets",
    "cli.dry_run": "cli.run_cost",
    "context": "querying.context",
    "cost": "plugins.cost_formulas",
    "datasets.array_cache": "datasets.files.array_cache",
    "datasets.cifar": "datasets.published.cifar",
    "datasets.cifar10_imb": "datasets.published.cifar10_imb",
    "datasets.decoding": "datasets.files.decoding",
    "datasets.digits": "datasets.published.digits",
    "datasets.download": "datasets.files.download",
    "datasets.emnist": "datasets.published.emnist",
    "datasets.extraction": "datasets.files.extraction",
    "datasets.fashionmnist": "datasets.published.fashionmnist",
    "datasets.idx": "datasets.files.idx",
    "datasets.idx_dataset": "datasets.published.idx_dataset",
    "datasets.image_files": "datasets.files.image_files",
    "datasets.image_folder": "datasets.user_data.image_folder",
    "datasets.labels": "datasets.user_data.labels",
    "datasets.manifest": "datasets.user_data.manifest",
    "datasets.medmnist": "datasets.published.medmnist",
    "datasets.mnist": "datasets.published.mnist",
    "datasets.npz": "datasets.user_data.npz",
    "datasets.npz_members": "datasets.files.npz_members",
    "datasets.npz_writer": "datasets.files.npz_writer",
    "datasets.own": "datasets.user_data.load_path",
    "datasets.plain_pickle": "datasets.files.plain_pickle",
    "datasets.svhn": "datasets.published.svhn",
    "datasets.tinyimagenet": "datasets.published.tinyimagenet",
    "devices": "numerics.devices",
    "embedding": "experiment.embedding",
    "factory": "strategies.factory",
    "fitted": "training.fitted_model",
    "guards": "isolation.guards",
    "hookspecs": "plugins.hookspecs",
    "initial_model": "experiment.shared_round_0",
    "inputs": "training.inputs",
    "learner": "experiment.learner",
    "loop": "experiment.loop",
    "masks": "numerics.dropout_masks",
    "measure": "measuring.resources",
    "models.base": "training.task_model",
    "models.solved": "training.solved",
    "notation": "plugins.notation",
    "objective": "training.objective",
    "optimization": "training.optimizers",
    "options": "plugins.options",
    "outputs": "querying.outputs",
    "placement": "numerics.precision",
    "plain": "jsonable",
    "pool": "experiment.pool",
    "predictor": "training.predictor",
    "process": "isolation.process_state",
    "profile": "measuring.profile",
    "profile_tables": "measuring.profile_tables",
    "protocols": "experiment.protocols",
    "randomness": "numerics.random_streams",
    "recipe": "training.recipe",
    "records": "experiment.records",
    "registry": "plugins.registry",
    "report.all_tables": "report.tables.all_tables",
    "report.cells": "report.wording",
    "report.dataset_tables": "report.tables.dataset_tables",
    "report.drawings": "report.figure_list",
    "report.overall_tables": "report.tables.overall_tables",
    "report.pictures": "report.first_images",
    "report.record_tables": "report.tables.record_tables",
    "results": "experiment.results",
    "run_files": "experiment.run_files",
    "scaling": "training.scaling",
    "selection": "numerics.top_scores",
    "settings": "experiment.settings",
    "slowness": "isolation.watchdog",
    "softmax": "numerics.softmax",
    "strategy": "querying.strategy",
    "versions": "experiment.versions",
    "models.anatomy": "models.find_layers",
    "report.contents": "report.report_data",
    "report.figures.placing": "report.figures.label_layout",
    "testing.faults": "testing.failure_text",
    "testing.items": "testing.pytest_items",
}


# What has a new home of its own, by old module and name.
MOVED_NAMES = {
    "records": {"load_model": "experiment.saved_model"},
    "randomness": {"global_seed": "isolation.process_state"},
    "registry": {
        "BUILTIN_DISTRIBUTION": "isolation.blame",
        "Provider": "isolation.blame",
        "REQUIREMENTS": "plugins.contract",
        "normalize": "isolation.blame",
    },
    "settings": {"differences": "experiment.resume_checks"},
    "strategy": {
        "SelectorStrategy": "querying.selector",
        "blaming": "isolation.blame",
        "describe_strategy": "querying.selector",
        "providers_of": "querying.selector",
    },
}


class _OldModule(ModuleType):
    """A module of an old path: it passes names on from where they are now."""

    def __init__(self, name: str, old: str) -> None:
        super().__init__(name)
        self.__dict__["_old"] = old

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            new = importlib.import_module(f"{__package__}.{MOVED[self._old]}")
            return [*(item for item in vars(new) if not item.startswith("_")), *MOVED_NAMES.get(self._old, {})]
        if name.startswith("__"):
            raise AttributeError(name)
        home = MOVED_NAMES.get(self._old, {}).get(name, MOVED[self._old])
        return getattr(importlib.import_module(f"{__package__}.{home}"), name)


class Finder(MetaPathFinder, Loader):
    """Finds a module by its old path and returns the one at its new path."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for an old path; None for all others."""
        package, _, old = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == __package__ and old in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return a module that passes on the names of the new one."""
        old = spec.name.partition(".")[2]
        message = f"{spec.name} is now {__package__}.{MOVED[old]}; the former path is removed in {REMOVED_IN}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return _OldModule(spec.name, old)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: names are looked up when they are used."""
