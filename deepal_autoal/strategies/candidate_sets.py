"""Resolve a selector's candidates, given as names of strategies or of sets such as ``all-cheap``.

Cards decide what is in a set, so nothing is imported until the strategies are created.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from deepal_autoal.errors import InputError
from deepal_autoal.plugins.cost_formulas import symbols_of
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.registry import Entry, is_candidate_set

ALL = "all"
CHEAP = "all-cheap"

# Symbols in a time formula for training: of the task model, or of the strategy's own network.
TRAININGS = frozenset({"fit", "E"})

# Names of strategies and sets, or, from a run's record, each of these with the strategies that it stood for.
Candidates: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]]

logger = logging.getLogger(__name__)


def candidate_sets() -> dict[str, list[str]]:
    """Return all sets, each with the names of its strategies, sorted.

    ``all`` contains every registered strategy that can be a candidate: by its card, it is not a selector and does not
    change training. ``all-cheap`` contains those whose card gives a time without training, of the task model or of
    the strategy's own network, and that do not need an ensemble; controls are excluded. ``all-<family>`` contains
    those of a family.
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


def check_names(words: Sequence[str]) -> None:
    """Check that every word is a registered strategy or a set, without importing any.

    Raises:
        UnknownNameError: If a strategy is not registered; the nearest names are suggested.
        InputError: If there is no such set; the message lists the sets.
        PluginError: If the plugin that provides a name failed to load.
    """
    for word in words:
        if is_candidate_set(word):
            _members(word)
        else:
            plugin_host().strategies.get(word)


def read_names(written: str | Sequence[str]) -> list[str]:
    """Return the words in ``a,all-cheap``, or in a sequence, stripped of spaces.

    Raises:
        InputError: If one of them is not a string.
    """
    words = written.split(",") if isinstance(written, str) else list(written)
    if any(not isinstance(word, str) for word in words):
        raise InputError("give candidates by their registered names, or by sets such as all-cheap")
    return [word.strip() for word in words]


def resolve_names(selector: str, given: str | Candidates) -> dict[str, list[str]]:
    """Return the words for candidates, each with the names that it stands for, in order.

    Args:
        selector: The selector; sets never include it.
        given: Words, or an earlier result of this function, which is returned unchanged.

    Raises:
        InputError: If there is no word, one is given twice, or there is no such set.
    """
    if isinstance(given, Mapping):
        return {word: list(names) for word, names in given.items()}
    words = read_names(given)
    if not all(words) or not words:
        raise InputError(f"strategy {selector!r} needs candidates, such as --candidates entropy,margin,kmeans")
    repeated = sorted({word for word in words if words.count(word) > 1})
    if repeated:
        raise InputError(f"candidate {repeated[0]!r} is named twice")
    resolved = {}
    for word in words:
        is_set = is_candidate_set(word)
        resolved[word] = [name for name in _members(word) if name != selector] if is_set else [word]
    if any(map(is_candidate_set, words)):
        _warn_of_unloaded_plugins(words)
    return resolved


def names_of(given: Candidates) -> list[str]:
    """Return the names that resolved words stand for, each once, in order; a list of names is returned unchanged."""
    if not isinstance(given, Mapping):
        return list(given)
    return list(dict.fromkeys(name for names in given.values() for name in names))


def names_in_sets_only(resolved: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the names that come from sets only."""
    return set(names_of(resolved)) - set(resolved)


def exclude_names(resolved: Mapping[str, Sequence[str]], names: Collection[str]) -> dict[str, list[str]]:
    """Return resolved words without the given names."""
    return {word: [name for name in theirs if name not in names] for word, theirs in resolved.items()}


def _members(word: str) -> list[str]:
    sets = candidate_sets()
    if word not in sets:
        raise InputError(f"there is no set of candidates {word!r}; choose from {', '.join(sorted(sets))}")
    return sets[word]


def _can_be_candidate(entry: Entry) -> bool:
    # A strategy that asks others is a selector, whatever its family.
    is_selector = entry.details["family"] == "selector" or "ask" in _time_symbols(entry)
    return not is_selector and not entry.details["changes_training"]


def _is_cheap(entry: Entry) -> bool:
    card = entry.details
    # Ensemble members are trained during the query, whether or not the formula says so.
    trains = _time_symbols(entry) & TRAININGS or "ensemble" in card["requires"]
    return bool(card["time"]) and not trains and card["family"] != "control"


def _time_symbols(entry: Entry) -> frozenset[str]:
    time = entry.details["time"]
    return symbols_of(time) if time else frozenset()


def _warn_of_unloaded_plugins(words: Sequence[str]) -> None:
    """Warn that sets lack the strategies of plugins that failed to load."""
    not_loaded = {str(record.provider) for record in plugin_host().records if record.state in ("failed", "refused")}
    if not_loaded:
        logger.warning(
            "candidates %s: without plugins of %s, which are not loaded: see `deepal plugins`",
            ",".join(words), ", ".join(sorted(not_loaded)),
        )  # fmt: skip
