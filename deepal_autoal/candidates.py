"""Which strategies a selector's candidates are: names, and words such as ``all-cheap`` for sets of them by card.

Cards tell what is in a set, so nothing is imported until the strategies are made.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from deepal_autoal.cost import symbols_of
from deepal_autoal.errors import InputError
from deepal_autoal.plugins import plugin_host
from deepal_autoal.registry import Entry, stands_for_a_set

ALL = "all"
CHEAP = "all-cheap"

# Of a formula of time: trainings of the task model, epochs of an own network.
TRAININGS = frozenset({"fit", "E"})

# Words, or, as a run's record has it, the names that each of them stood for.
Candidates: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]]

logger = logging.getLogger(__name__)


def candidate_sets() -> dict[str, list[str]]:
    """Return the sets that there are, each with the names of its strategies, sorted.

    ``all`` holds every registered strategy that can be a candidate: no selector, and none that changes training, by
    its card. ``all-cheap`` holds those of them whose card names a time that holds no training, of the task model or
    of an own network, and that need no ensemble; controls are not in it. ``all-<family>`` holds those of a family.
    """
    sets: dict[str, list[str]] = {ALL: [], CHEAP: []}
    for entry in filter(_can_be_candidate, plugin_host().strategies.entries()):
        sets[ALL].append(entry.name)
        if _is_cheap(entry):
            sets[CHEAP].append(entry.name)
        by_family = f"{ALL}-{entry.details['family']}"
        if entry.details["family"] and by_family != CHEAP:
            sets.setdefault(by_family, []).append(entry.name)
    return sets


def check_words(words: Sequence[str]) -> None:
    """Check that every word is a registered strategy or a set, without importing any.

    Raises:
        UnknownNameError: If a strategy is not registered; the nearest names are offered.
        InputError: If there is no such set; lists those that there are.
        PluginError: If the plugin that bears a name failed to load.
    """
    for word in words:
        if stands_for_a_set(word):
            _members(word)
        else:
            plugin_host().strategies.get(word)


def read_words(written: str | Sequence[str]) -> list[str]:
    """Return the words of ``a,all-cheap``, or of a sequence of them, without spaces around.

    Raises:
        InputError: If one of them is no text.
    """
    words = written.split(",") if isinstance(written, str) else list(written)
    if any(not isinstance(word, str) for word in words):
        raise InputError("candidates are given by their registered names, or by sets such as all-cheap")
    return [word.strip() for word in words]


def resolve_words(selector: str, given: str | Candidates) -> dict[str, list[str]]:
    """Return the words that candidates are given by, each with the names that it stands for, in order.

    Args:
        selector: Whose candidates they are; it is in no set of its own.
        given: Words, or what was returned for them before, which is taken as it is.

    Raises:
        InputError: If there is no word, one is given twice, or there is no such set.
    """
    if isinstance(given, Mapping):
        return {word: list(names) for word, names in given.items()}
    words = read_words(given)
    if not all(words) or not words:
        raise InputError(f"strategy {selector!r} needs candidates, such as --candidates entropy,margin,kmeans")
    repeated = sorted({word for word in words if words.count(word) > 1})
    if repeated:
        raise InputError(f"candidate {repeated[0]!r} is named twice")
    resolved = {}
    for word in words:
        is_set = stands_for_a_set(word)
        resolved[word] = [name for name in _members(word) if name != selector] if is_set else [word]
    if any(map(stands_for_a_set, words)):
        _tell_of_plugins_that_are_out(words)
    return resolved


def names_of(given: Candidates) -> list[str]:
    """Return the names of resolved words, each once, in order; names themselves are returned as they are."""
    if not isinstance(given, Mapping):
        return list(given)
    return list(dict.fromkeys(name for names in given.values() for name in names))


def names_by_sets_only(resolved: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the names that no word but a set's brought."""
    return set(names_of(resolved)) - set(resolved)


def without_names(resolved: Mapping[str, Sequence[str]], names: Collection[str]) -> dict[str, list[str]]:
    """Return resolved words without some of the names."""
    return {word: [name for name in theirs if name not in names] for word, theirs in resolved.items()}


def _members(word: str) -> list[str]:
    sets = candidate_sets()
    if word not in sets:
        raise InputError(f"there is no set of candidates {word!r}; there are {', '.join(sorted(sets))}")
    return sets[word]


def _can_be_candidate(entry: Entry) -> bool:
    # What asks others is a selector, whatever its family is called.
    is_selector = entry.details["family"] == "selector" or "ask" in _time_symbols(entry)
    return not is_selector and not entry.details["changes_training"]


def _is_cheap(entry: Entry) -> bool:
    card = entry.details
    # Members of an ensemble are trained in the query, whether or not the formula says so.
    trains = _time_symbols(entry) & TRAININGS or "ensemble" in card["requires"]
    return bool(card["time"]) and not trains and card["family"] != "control"


def _time_symbols(entry: Entry) -> frozenset[str]:
    time = entry.details["time"]
    return symbols_of(time) if time else frozenset()


def _tell_of_plugins_that_are_out(words: Sequence[str]) -> None:
    """Warn that whatever failed plugins would have registered is in no set."""
    out = {str(record.provider) for record in plugin_host().records if record.state in ("failed", "refused")}
    if out:
        logger.warning(
            "candidates %s: without plugins of %s, which are out: see `deepal plugins`",
            ",".join(words), ", ".join(sorted(out)),
        )  # fmt: skip
