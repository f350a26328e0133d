"""Merging finished runs from several places, for tables and reports alike: the same run in two of them counts once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.experiment.resume_checks import differences
from deepal_autoal.experiment.run_config import complete_recipe, recorded_value
from deepal_autoal.experiment.run_files import CONFIG, read_config, recorded_scaling
from deepal_autoal.run_settings import COMPARED

if TYPE_CHECKING:
    from deepal_autoal.experiment.results import FinishedRun

# Settings that runs must share to be compared. Runs are compared by strategy and paired by seed; the initial set
# belongs to a seed; a protocol is only a name for settings that are listed here themselves.
PAIRED_BY = ("precision", *(key for key in COMPARED if key not in ("strategy", "seed", "initial", "protocol")))

RunKey = tuple[str, str, int]


def merge_runs(runs: Iterable[FinishedRun]) -> dict[RunKey, FinishedRun]:
    """Return runs by dataset, strategy and seed, each once.

    Of a run that is found twice, the first one counts, or rather the first one with a folder, which records settings.

    Args:
        runs: From any places.

    Raises:
        InputError: If two runs of one dataset, strategy and seed differ in settings or numbers; says how.
        RunFolderError: If a folder of one of the two is damaged.
    """
    merged: dict[RunKey, FinishedRun] = {}
    for run in runs:
        key = (run.dataset, run.strategy, run.seed)
        if key in merged:
            _refuse_another(merged[key], run)
        if key not in merged or merged[key].folder is None:
            merged[key] = run
    return merged


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


def _refuse_another(one: FinishedRun, other: FinishedRun) -> None:
    # Settings first: if they differ, different numbers are no surprise.
    if one.folder is not None and other.folder is not None:
        here, there = _settings(one.folder), _settings(other.folder)
        found = [line for key in ("strategy", *PAIRED_BY, "initial") for line in settings_that_differ(key, here, there)]
        if found:
            raise InputError(f"two runs of {one}{_where(one, other)} had different settings: {'; '.join(found)}")
    if (one.n_labeled, one.accuracy) != (other.n_labeled, other.accuracy):
        raise InputError(
            f"there are two different runs of {one}{_where(one, other)}: give only one of the two places, or run one "
            "of the strategies under another label (deepal benchmark --strategies LABEL=NAME)"
        )


def _settings(folder: Path) -> dict[str, Any]:
    config = {"dataset": {}, "recipe": {}, "settings": {}, **read_config(folder)}
    for name in ("dataset", "recipe", "settings"):
        if not isinstance(config[name], Mapping):
            raise RunFolderError(f"{folder / CONFIG} is damaged: {name} is not an object; remove the run")
    return complete_settings(config)


def _where(one: FinishedRun, other: FinishedRun) -> str:
    folders = [str(run.folder) for run in (one, other) if run.folder is not None]
    return f" ({' and '.join(folders)})" if folders else ""
