"""The settings that runs must share to be compared, and in what two runs differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepal_autoal.errors import RunFolderError
from deepal_autoal.experiment.resume_checks import differences
from deepal_autoal.experiment.run_config import complete_recipe, recorded_value
from deepal_autoal.experiment.run_files import CONFIG, read_config, recorded_scaling
from deepal_autoal.run_settings import COMPARED

# Settings that runs must share to be compared. Runs are compared by strategy and paired by seed; the initial set
# belongs to a seed; a protocol or a single round is only a name for settings that are listed here themselves; a plain
# model's accuracy is recorded beside what is compared.
_OTHERS = ("strategy", "seed", "initial", "protocol", "single_round", "plain_accuracy")
PAIRED_BY = ("precision", *(key for key in COMPARED if key not in _OTHERS))


def settings_that_differ(key: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return how a compared setting of two runs differs, one text for each part of it; nothing if it agrees.

    Args:
        key: One of `PAIRED_BY`, or ``strategy`` or ``initial``.
        one, other: Their `complete_settings`.
    """
    if key == "initial" and one.get(key) != other.get(key):
        return [f"the initial sets of seed {one.get('seed')} differ"]
    found = differences(key, recorded_value(one, key), recorded_value(other, key))
    return [f"{name} is {here} and {there}" for name, here, there in found]


def complete_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of a ``config.json`` with what earlier versions did not record."""
    complete = {"scaling": recorded_scaling(config), "recipe": complete_recipe(config.get("recipe", {}))}
    return {**config, **complete}


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the `complete_settings` of a run folder.

    Raises:
        RunFolderError: If they are damaged.
    """
    config = {"dataset": {}, "recipe": {}, "settings": {}, **read_config(folder)}
    for name in ("dataset", "recipe", "settings"):
        if not isinstance(config[name], Mapping):
            raise RunFolderError(f"{folder / CONFIG} is damaged: {name} is not an object; remove the run")
    return complete_settings(config)
