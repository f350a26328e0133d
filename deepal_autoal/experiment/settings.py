"""A run's settings: what the user may give, what is filled in, and what must not change on resume."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from deepal_autoal.datasets import DEFAULT_DATASET
from deepal_autoal.datasets.changes import PoolChanges
from deepal_autoal.errors import InputError, PluginCodeError, PluginError, RunFolderError, error_message
from deepal_autoal.experiment.protocols import find_protocol
from deepal_autoal.experiment.run_config import RunConfig, recorded_value
from deepal_autoal.jsonable import to_jsonable
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.run_settings import COMPARED, RunSettings, definitions
from deepal_autoal.strategies.candidate_selection import CandidateSelection
from deepal_autoal.training.recipe import Recipe

DEFAULT_DATA_DIR = "data"
DEFAULT_INITIAL = 50
DEFAULT_BATCH_SIZE = 20
DEFAULT_ROUNDS = 10


@dataclass(frozen=True)
class Settings(RunSettings):
    """What a run is asked to do, and how defaults are filled in."""

    def fill_from(self, recorded: Settings) -> Settings:
        """Return these settings with what they leave open taken from a recorded run."""
        given = {item.name: getattr(self, item.name) for item in fields(self) if getattr(self, item.name) is not None}
        if isinstance(recorded.candidates, Mapping):
            # Sets may hold others by now; what is asked for otherwise, `check_given_matches` refuses.
            given.pop("candidates", None)
        if self.scaling == "auto":
            given.pop("scaling", None)  # chosen once
        given["recipe"] = {**recorded.recipe, **self.recipe}
        given["options"] = {**(recorded.options or {}), **(self.options or {})}
        given["plugin_options"] = {**recorded.plugin_options, **self.plugin_options}
        return replace(recorded, **given)

    def with_protocol(self) -> Settings:
        """Return these settings with what they leave open taken from their protocol, if they name one.

        Raises:
            UnknownNameError: If there is no such protocol.
        """
        if self.protocol is None:
            return self
        protocol = find_protocol(self.protocol)
        open_ones = {name: value for name, value in protocol.defaults().items() if getattr(self, name) is None}
        return replace(self, **open_ones, recipe={**protocol.recipe, **self.recipe})

    @property
    def changes(self) -> PoolChanges:
        """What is done to the pool on purpose.

        Raises:
            InputError: If a number is out of range.
        """
        return PoolChanges(self.imbalance, self.label_noise, self.duplicates)

    def with_defaults(self) -> Settings:
        """Return these settings with the defaults that depend on nothing else."""
        dataset = self.dataset or DEFAULT_DATASET
        if dataset not in plugin_host().datasets and os.path.exists(dataset):
            dataset = os.path.abspath(dataset)  # a resumed run may start in another folder
        data_dir = self.data_dir or os.environ.get("DEEPAL_DATA") or DEFAULT_DATA_DIR
        return replace(
            self,
            strategy=self.strategy or "random",
            candidates=self.candidates if isinstance(self.candidates, Mapping | None) else list(self.candidates),
            options=dict(self.options or {}),
            dataset=dataset,
            data_dir=os.path.abspath(data_dir),
            model=self.model or "auto",
            seed=0 if self.seed is None else self.seed,
            device=self.device or "auto",
        )

    def describe(self) -> dict[str, Any]:
        """Return the settings as a JSON-able dict."""
        return asdict(self)


def resolve_plugin_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plugins' options that were given, as their plugins want them.

    Args:
        given: By name, with ``-`` or ``_`` between words; None leaves an option out.

    Raises:
        UnknownNameError: If no plugin registered a name.
        InputError: If a plugin refuses a value.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"plugin_options is {given!r}; give a mapping, such as {{'patience': 3}}")
    resolved = {}
    for name, value in given.items():
        entry = plugin_host().options.get(str(name).replace("_", "-"))
        if value is None:
            continue
        if entry.details.get("flag") and not isinstance(value, bool):
            raise InputError(f"--{entry.name} {value}: it is on or off: give True or False")
        try:
            converted = entry.call(value)
        except PluginCodeError as error:
            if isinstance(error.__cause__, ValueError):  # what a converter tells the user
                raise InputError(
                    f"--{entry.name} {value}: {error_message(error.__cause__)} ({entry.summary})"
                ) from None
            raise
        try:
            resolved[entry.name] = to_jsonable(converted)
        except ValueError as error:
            raise PluginError(
                f"option {entry.name!r} of {entry.provider} gives what JSON cannot hold: {error}"
            ) from None
    return resolved


def check_budget(settings: Settings, pool_size: int) -> tuple[int, int, int]:
    """Return initial size, batch size and number of rounds; defaults shrink to fit a small pool.

    Raises:
        InputError: If they cannot be met; names the largest possible number of rounds.
    """
    initial = min(DEFAULT_INITIAL, max(1, pool_size // 2)) if settings.initial is None else settings.initial
    batch_size = (
        min(DEFAULT_BATCH_SIZE, max(1, pool_size - initial)) if settings.batch_size is None else settings.batch_size
    )
    possible = max(0, (pool_size - initial) // batch_size) if batch_size > 0 else 0
    rounds = min(DEFAULT_ROUNDS, possible) if settings.rounds is None else settings.rounds
    largest = f"the pool has {pool_size} samples, so with --initial {initial} --batch-size {batch_size} "
    if initial < 1 or initial > pool_size:
        shown = _largest_rounds(pool_size, max(1, min(initial, pool_size)), batch_size)
        raise InputError(f"--initial {initial}: give 1 to {pool_size}, the pool's size; {shown}")
    if batch_size < 1:
        raise InputError(f"--batch-size {batch_size}: give at least 1; {_largest_rounds(pool_size, initial, 1)}")
    if settings.rounds is None and possible == 0 and settings.batch_size is not None:
        raise InputError(f"--batch-size {batch_size} is too large: {largest}at most --rounds 0 is possible")
    if rounds < 0:
        raise InputError(f"--rounds {rounds}: give 0 or more; {largest}at most --rounds {possible} is possible")
    if initial + rounds * batch_size > pool_size:
        raise InputError(f"--rounds {rounds} is too many: {largest}at most --rounds {possible} is possible")
    return initial, batch_size, rounds


def _largest_rounds(pool_size: int, initial: int, batch_size: int) -> str:
    rounds = max(0, (pool_size - initial) // max(1, batch_size))
    return f"with --initial {initial} --batch-size {max(1, batch_size)} at most --rounds {rounds} is possible"


def check_same_settings(recorded: Mapping[str, Any], current: Mapping[str, Any], folder: Path) -> None:
    """Refuse to resume a run under other settings.

    Raises:
        RunFolderError: With every difference.
    """
    now = to_jsonable(current, strict=False)
    compared = [(key, recorded_value(recorded, key), recorded_value(now, key)) for key in COMPARED]
    _refuse([line for name, one, other in compared for line in _differences(name, one, other)], folder)


def check_given_matches(recorded: RunConfig, given: Settings, folder: Path) -> None:
    """Refuse what was explicitly asked for and plainly differs, before other settings are made to fit it.

    Raises:
        RunFolderError: With every difference.
    """
    strategy = recorded.strategy
    candidates = [candidate["name"] for candidate in strategy.get("candidates", ())]
    words = recorded.settings.get("candidates")
    changes = recorded.dataset.get("changes", {})
    known = {
        "strategy": strategy["name"],
        "candidates": candidates,
        "initial": len(recorded.initial),
        **{key: getattr(recorded, key) for key in ("pool_size", "batch_size", "rounds", "seed", "threads")},
        "protocol": recorded.protocol,
        "imbalance": changes.get("imbalance"),
        "label_noise": changes.get("label_noise") or 0.0,
        "duplicates": changes.get("duplicates") or 1,
        "scaling": recorded.scaling,
    }
    if given.scaling == "auto":
        given = replace(given, scaling=None)
    if given.candidates is not None:
        asked_for = [*given.candidates]
        if isinstance(given.candidates, Mapping):
            asked_for = CandidateSelection(given.candidates).names
        elif asked_for == [*(words or ())]:  # the same words mean what they meant then
            asked_for = candidates
        given = replace(given, candidates=asked_for)
    lines = []
    for key, value in known.items():
        asked = getattr(given, key)
        if asked is not None:
            lines += _differences(key, value, to_jsonable(asked))
    _refuse(lines, folder)


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
        return [
            found
            for key in keys
            if key not in skipped
            for found in differences(f"{name}.{key}", one.get(key), other.get(key))
        ]
    # A run from before models had options records none.
    if one == other or (one is None and other == {}):
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


def recipe_changes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes to the training recipe: those of ``recipe``, and settings of their own names over them.

    Args:
        settings: By the names of `run`'s arguments.
    """
    written = settings.get("recipe")
    if not isinstance(written, Mapping | None):
        raise InputError(f"recipe is {written!r}; give a mapping, such as {{'epochs': 5}}")
    own = {name: settings.get(name) for name in definitions(Recipe)}
    return {**Recipe.changes(written or {}), **Recipe.changes(own)}
