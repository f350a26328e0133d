"""A run's settings: what the user may give, and what is filled in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from deepal_autoal.datasets import DEFAULT_DATASET, data_folder
from deepal_autoal.datasets.changes import PoolChanges
from deepal_autoal.errors import InputError, PluginCodeError, PluginError, error_message
from deepal_autoal.experiment.protocols import find_protocol
from deepal_autoal.jsonable import to_jsonable
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.references import absolute_reference
from deepal_autoal.run_settings import RunSettings, definitions, split_names
from deepal_autoal.training.recipe import Recipe
from deepal_autoal.user_paths import user_path

DEFAULT_STRATEGY = "random"
DEFAULT_INITIAL = 50
DEFAULT_BATCH_SIZE = 20
DEFAULT_ROUNDS = 10
MOST_THREADS = 1024
COUNTED, FREE = "counted", "free"
_RECORDED_IF_GIVEN = ("audit", "audit_folds", "single_round", "text_model", "validation", "validation_labels")


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

    def with_protocol(self, is_new: bool = True) -> Settings:
        """Return these settings with what they leave open taken from their protocol, if they name one.

        Args:
            is_new: Whether no run has been recorded yet, whose options of the strategy stay.

        Raises:
            UnknownNameError: If there is no such protocol.
        """
        if self.protocol is None:
            return self
        protocol = find_protocol(self.protocol)
        open_ones = {name: value for name, value in protocol.defaults().items() if getattr(self, name) is None}
        options = self.options
        if self.strategy is not None and is_new:
            options = options_under(self.protocol, self.strategy, self.candidates, self.options or {})
        return replace(self, **open_ones, recipe={**protocol.recipe, **self.recipe}, options=options)

    @property
    def changes(self) -> PoolChanges:
        """What is done to the pool on purpose.

        Raises:
            InputError: If a number is out of range.
        """
        return PoolChanges(self.imbalance, self.label_noise, self.duplicates)

    def with_defaults(self) -> Settings:
        """Return these settings with the defaults that depend on nothing else."""
        dataset = DEFAULT_DATASET if self.dataset is None else self.dataset
        if dataset not in plugin_host().datasets:
            path = user_path(dataset, "--dataset")
            if os.path.exists(path):
                dataset = os.path.abspath(path)  # a resumed run may start in another folder
        return replace(
            self,
            strategy=DEFAULT_STRATEGY if self.strategy is None else absolute_reference(self.strategy),
            candidates=self.candidates
            if isinstance(self.candidates, Mapping | None)
            else [*map(absolute_reference, self.candidates)],
            options=dict(self.options or {}),
            dataset=dataset,
            data_dir=os.path.abspath(data_folder(self.data_dir)),
            model="auto" if self.model is None else absolute_reference(self.model),
            seed=0 if self.seed is None else self.seed,
            device="auto" if self.device is None else self.device,
        )

    def describe(self) -> dict[str, Any]:
        """Return the settings as a JSON-able dict; newer ones only if they were given."""
        return {
            name: value for name, value in asdict(self).items() if value is not None or name not in _RECORDED_IF_GIVEN
        }


def check_threads(number: int | None) -> None:
    """Refuse a number of CPU threads that no machine has: OpenMP would wait for them without end.

    Raises:
        InputError: If it is out of range.
    """
    if number is not None and not 1 <= number <= MOST_THREADS:
        raise InputError(f"--threads {number}: give at least 1, and {MOST_THREADS} at most")


def check_plain_accuracy(settings: RunSettings, recipe: Recipe) -> None:
    """Refuse a plain model beside models that go on from earlier ones: it would need earlier plain models too.

    Raises:
        InputError: If both are asked for.
    """
    if settings.plain_accuracy and recipe.warm_start:
        raise InputError("--plain-accuracy trains its model from scratch in every round: leave out --warm-start")


def options_under(
    protocol: str, strategy: str, candidates: Iterable[Any] | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of a registered strategy under a protocol (see `Protocol.options_of`).

    Args:
        protocol: The protocol's name.
        strategy: The strategy's name.
        candidates: Its candidates; for a selector without any, its default ones. Sets, such as ``all``, are left as
            they are: the paper's options are used for candidates that are named.
        options: Options that take precedence.
    """
    found = find_protocol(protocol)
    if candidates is None and strategy in plugin_host().strategies:
        with suppress(PluginError):  # it is reported where the strategy is created
            candidates = getattr(plugin_host().strategies.load(strategy), "default_candidates", ())
    names = split_names(candidates) if isinstance(candidates, str) else candidates or ()
    return found.options_of(strategy, [name for name in names if isinstance(name, str)], options)


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


def check_validation(settings: RunSettings, pool_size: int) -> tuple[int, str | None]:
    """Return how many samples are held out for validation, and whether their labels are counted; 0 and None without.

    Raises:
        InputError: If a setting is out of range, or says how the labels of a set are counted that there is not.
    """
    size, labels = settings.validation or 0, settings.validation_labels
    if labels not in (None, COUNTED, FREE):
        raise InputError(f"--validation-labels {labels}: give {COUNTED} or {FREE}")
    if labels is not None and settings.validation is None:
        raise InputError("--validation-labels has no effect without --validation: give the size of the set")
    if not 0 <= size < pool_size:
        raise InputError(f"--validation {size}: give 0 to {pool_size - 1}; the pool has {pool_size} samples")
    return size, (labels or COUNTED) if size else None


def check_budget(settings: Settings, pool_size: int) -> tuple[int, int, int]:
    """Return initial size, batch size and number of rounds; defaults shrink to fit a small pool.

    With a single round, they are those of the one query that asks for the labels of all rounds. Samples that are held
    out for validation cannot be queried.

    Raises:
        InputError: If they cannot be met; names the largest possible number of rounds.
    """
    n_validation, _ = check_validation(settings, pool_size)
    pool_size -= n_validation
    initial = min(DEFAULT_INITIAL, max(1, pool_size // 2)) if settings.initial is None else settings.initial
    batch_size = (
        min(DEFAULT_BATCH_SIZE, max(1, pool_size - initial)) if settings.batch_size is None else settings.batch_size
    )
    possible = max(0, (pool_size - initial) // batch_size) if batch_size > 0 else 0
    rounds = min(DEFAULT_ROUNDS, possible) if settings.rounds is None else settings.rounds
    beside = f" beside --validation {n_validation}" if n_validation else ""
    largest = f"the pool has {pool_size} samples{beside}, so with --initial {initial} --batch-size {batch_size} "
    if initial < 1 or initial > pool_size:
        shown = _largest_rounds(pool_size, max(1, min(initial, pool_size)), batch_size)
        raise InputError(f"--initial {initial}: give 1 to {pool_size}, the pool's size{beside}; {shown}")
    if batch_size < 1:
        raise InputError(f"--batch-size {batch_size}: give at least 1; {_largest_rounds(pool_size, initial, 1)}")
    if settings.rounds is None and possible == 0 and settings.batch_size is not None:
        raise InputError(f"--batch-size {batch_size} is too large: {largest}at most --rounds 0 is possible")
    if rounds < 0:
        raise InputError(f"--rounds {rounds}: give 0 or more; {largest}at most --rounds {possible} is possible")
    if initial + rounds * batch_size > pool_size:
        raise InputError(f"--rounds {rounds} is too many: {largest}at most --rounds {possible} is possible")
    if settings.single_round and rounds:
        return initial, rounds * batch_size, 1
    return initial, batch_size, rounds


def _largest_rounds(pool_size: int, initial: int, batch_size: int) -> str:
    rounds = max(0, (pool_size - initial) // max(1, batch_size))
    return f"with --initial {initial} --batch-size {max(1, batch_size)} at most --rounds {rounds} is possible"


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
