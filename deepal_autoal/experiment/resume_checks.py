"""What must agree when a run is resumed, and when runs are compared.

`loop.run` resumes a run: it reads the record (`run_config`), fills in what was not given (`Settings.fill_from`), checks
here that nothing else changed, and continues from the state saved after the last round (`records`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.user_data.sentence_models import AUTO
from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.experiment.run_config import RunConfig, recorded_value
from deepal_autoal.experiment.run_files import read_rounds
from deepal_autoal.experiment.settings import Settings
from deepal_autoal.jsonable import to_jsonable
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.references import absolute_reference
from deepal_autoal.plugins.registry import IN_PROCESS_DISTRIBUTION
from deepal_autoal.run_settings import COMPARED
from deepal_autoal.strategies.candidate_selection import CandidateSelection
from deepal_autoal.strategies.factory import defined_name


def check_same_settings(recorded: Mapping[str, Any], current: Mapping[str, Any], folder: Path) -> None:
    """Refuse to resume a run under other settings; more rounds, and another name of the same data, are none.

    Nor is another digest of a strategy's code before it has chosen a batch: it was repaired since it failed.

    Raises:
        RunFolderError: With every difference.
    """
    now = to_jsonable(current, strict=False)
    data, data_now = recorded.get("dataset"), now.get("dataset")
    if isinstance(data, Mapping) and isinstance(data_now, Mapping) and _same_data(data, data_now):
        now["dataset"] = {**data_now, "name": data.get("name")}
    if _is_extended(recorded.get("rounds"), now.get("rounds")):
        now["rounds"] = recorded["rounds"]
    compared = [(key, recorded_value(recorded, key), recorded_value(now, key)) for key in COMPARED]
    strategies = recorded.get("strategy"), now.get("strategy")
    if strategies[0] != strategies[1] and not has_chosen(folder, recorded):
        plain = [("strategy", *map(_without_code, strategies))]
        compared = [*(item for item in compared if item[0] != "strategy"), *plain]
    _refuse([line for name, one, other in compared for line in _differences(name, one, other)], folder)
    before, gpu = recorded.get("gpu"), now.get("gpu")
    changes = _differences("gpu", before, gpu) if before and gpu else []  # earlier versions did not record it
    if changes:
        raise RunFolderError(
            f"{folder}: {'; '.join(changes)}, and other kernels give other numbers. Resume it with what it began with, "
            "or choose another --out"
        )


def check_given_matches(recorded: RunConfig, given: Settings, folder: Path) -> None:
    """Refuse what was explicitly asked for and plainly differs, before other settings are made to fit it.

    Raises:
        RunFolderError: With every difference.
    """
    strategy = recorded.strategy
    candidates = [candidate["name"] for candidate in strategy.get("candidates", ())]
    words = recorded.settings.get("candidates")
    changes = recorded.dataset.get("changes", {})
    # With a single round, the record has what they came to, which `check_same_settings` compares.
    budget = () if recorded.single_round else ("batch_size", "rounds")
    known = {
        "strategy": strategy["name"],
        "candidates": candidates,
        "initial": len(recorded.initial),
        **{key: getattr(recorded, key) for key in ("pool_size", *budget, "single_round", "seed", "threads")},
        "protocol": recorded.protocol,
        "validation": len(recorded.validation_set or ()),
        "imbalance": changes.get("imbalance"),
        "label_noise": changes.get("label_noise") or 0.0,
        "duplicates": changes.get("duplicates") or 1,
        "scaling": recorded.scaling,
        "image_size": recorded.settings.get("image_size"),
        "text_model": recorded.text_model,
    }
    if given.strategy is not None:
        given = replace(given, strategy=defined_name(given.strategy))
    if given.scaling == "auto":
        given = replace(given, scaling=None)
    if given.text_model == AUTO:
        given = replace(given, text_model=None)
    if given.candidates is not None:
        asked_for = [*given.candidates]
        if isinstance(given.candidates, Mapping):
            asked_for = CandidateSelection(given.candidates).names
        elif [*map(absolute_reference, asked_for)] == [*(words or ())]:  # the same words mean what they meant then
            asked_for = candidates
        else:
            asked_for = [*map(defined_name, asked_for)]
        given = replace(given, candidates=asked_for)
    lines = []
    for key, value in known.items():
        asked = getattr(given, key)
        if asked is not None and not (key == "rounds" and _is_extended(value, asked)):
            lines += _differences(key, value, to_jsonable(asked))
    _refuse(lines, folder)


def check_objects_are_given(
    recorded: RunConfig, given: Mapping[str, Any], candidates: Collection[str] | None, folder: Path
) -> None:
    """Refuse to resume a run without the objects that it was started with in Python, which no folder can hold.

    Args:
        recorded: The run.
        given: ``strategy``, ``dataset`` and ``model`` as they are given now.
        candidates: Names of the candidates given as objects; None if the strategy is one, which has its own.
        folder: The run folder.

    Raises:
        InputError: If one is missing; the message says how to give it.
    """
    for what, new in given.items():
        if recorded.settings.get(what) is None and new is None:
            raise InputError(
                f"{folder} was run with a {what} created in Python, which no folder can hold; resume it from Python "
                f"and give it again: run({what}=..., out=..., resume=True)"
            )
    words = recorded.settings.get("candidates") or ()
    lost = [
        candidate["name"]
        for candidate in recorded.strategy.get("candidates", ())
        if candidate.get("distribution", IN_PROCESS_DISTRIBUTION) == IN_PROCESS_DISTRIBUTION
        and candidate["name"] in words
        and candidate["name"] not in plugin_host().strategies
        and candidates is not None
        and candidate["name"] not in candidates
    ]
    if lost:
        raise InputError(
            f"{folder} was run with candidates created in Python ({', '.join(lost)}), which no folder can hold; "
            "resume it from Python and give all candidates again, these as objects: "
            "run(candidates=[...], out=..., resume=True)"
        )


def check_same_form(recorded: Mapping[str, Any], data: Dataset, folder: Path) -> None:
    """Refuse images where there were vectors, and the other way round, before recorded settings are applied to them.

    Args:
        recorded: The run's ``dataset``.
        data: What is given now.
        folder: The run folder.

    Raises:
        RunFolderError: If it is so.
    """
    shape = tuple(recorded.get("input_shape", data.input_shape))
    if len(shape) != len(data.input_shape):
        raise RunFolderError(
            f"{folder} was run on other data: {recorded['name']}, inputs {shape}, and {data.name} has inputs "
            f"{data.input_shape}; give the same data, or another --out"
        )


def has_chosen(folder: Path, recorded: Mapping[str, Any]) -> bool:
    """Return whether a run's strategy has chosen a batch, or changed how a recorded round's model was trained.

    Args:
        folder: The run folder.
        recorded: Its settings.
    """
    records = read_rounds(folder)
    is_trained = bool(records) and (recorded.get("strategy") or {}).get("changes_training")
    return bool(is_trained) or any(record["queried"] for record in records)


def _without_code(strategy: Any) -> Any:
    if not isinstance(strategy, Mapping):
        return strategy
    plain = {key: value for key, value in strategy.items() if key != "code"}
    if isinstance(plain.get("candidates"), list):
        plain["candidates"] = [*map(_without_code, plain["candidates"])]
    return plain


def _same_data(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.get("fingerprint") is not None and one["fingerprint"] == other.get("fingerprint")


def _is_extended(recorded: Any, asked: Any) -> bool:
    return isinstance(recorded, int) and isinstance(asked, int) and asked > recorded


def _refuse(differences: Sequence[str], folder: Path) -> None:
    if differences:
        raise RunFolderError(
            f"{folder} was run with other settings: {'; '.join(differences)}. "
            "To resume, leave out the options that say so, or choose another --out"
        )


def differences(name: str, one: Any, other: Any) -> list[tuple[str, str, str]]:
    """Return the parts of two recorded settings that differ: a part's dotted name, and its text in each.

    Args:
        name: What the settings are called.
        one, other: In JSON's own types. What only describes a part (its source, version, distribution), or
            the augmentation that a dataset offers, is ignored.
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys = [*one, *(key for key in other if key not in one)]
        skipped = {"source", "version", "distribution"}
        if name == "dataset":
            skipped.add("augmentation")  # the default; what was applied is the recipe's
        if one.get("code") and other.get("code"):
            skipped.add("given")  # the text of an object, of which the digest says whether it is another
        return [
            found
            for key in keys
            if key not in skipped
            for found in differences(f"{name}.{key}", one.get(key), other.get(key))
        ]
    # A run from before models had options records none, and a switch that is not given is off.
    if one == other or (one is None and other == {}) or (not one and not other and (one is False or other is False)):
        return []
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = list(zip(one, other, strict=True))
        if all(isinstance(item, Mapping) for pair in pairs for item in pair):
            return [found for number, pair in enumerate(pairs) for found in differences(f"{name}.{number}", *pair)]
    if isinstance(one, list) and isinstance(other, list) and len(one) + len(other) > 12:
        return [(name, f"{len(one)} entries", f"other {len(other)}")]
    return [(name, repr(one), repr(other))]


def _differences(name: str, recorded: Any, current: Any) -> list[str]:
    return [f"{part} was {before} and is now {now}" for part, before, now in differences(name, recorded, current)]
