"""Sets of candidates such as ``all-cheap``: cards decide what is in them, so no strategy is imported."""

from __future__ import annotations

from collections.abc import Sequence

from deepal_autoal.errors import InputError
from deepal_autoal.plugins.cost_formulas import symbols_of
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.registry import Entry, is_candidate_set
from deepal_autoal.run_settings import split_names
from deepal_autoal.strategies.given import given_items

ALL = "all"
CHEAP = "all-cheap"

# Symbols in a time formula for training: of the task model, or of the strategy's own network.
TRAININGS = frozenset({"fit", "E"})


def candidate_sets() -> dict[str, list[str]]:
    """Return all sets, each with the names of its strategies, sorted.

    ``all`` contains every registered strategy that can be a candidate: by its card, it is not a selector and does not
    change training. ``all-cheap`` contains those whose card gives a time without training, of the task model or of
    the strategy's own network, and without further passes of the pool through the task model, and that do not need an
    ensemble; controls are excluded. ``all-<family>`` contains those of a family.
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


def set_members(word: str) -> list[str]:
    """Return the names of a set's strategies, sorted.

    Raises:
        InputError: If there is no such set; the message lists the sets.
    """
    sets = candidate_sets()
    if word not in sets:
        raise InputError(f"there is no set of candidates {word!r}; choose from {', '.join(sorted(sets))}")
    return sets[word]


def check_names(words: Sequence[str]) -> None:
    """Check that every word is a registered strategy or a set, without importing any.

    Raises:
        UnknownNameError: If a strategy is not registered; the nearest names are suggested.
        InputError: If there is no such set; the message lists the sets.
        PluginError: If the plugin that provides a name failed to load.
    """
    for word in words:
        if is_candidate_set(word):
            set_members(word)
        else:
            plugin_host().strategies.get(word)


def read_names(written: str | Sequence[str]) -> list[str]:
    """Return the words in ``a,all-cheap``, or in a sequence, without spaces; empty ones in a text are left out.

    Raises:
        InputError: If one of them is not a string.
    """
    words = split_names(written) if isinstance(written, str) else given_items(written)
    if any(not isinstance(word, str) for word in words):
        raise InputError("give candidates by their registered names, or by sets such as all-cheap")
    return [word.strip() for word in words]


def _can_be_candidate(entry: Entry) -> bool:
    # A strategy that asks others is a selector, whatever its family.
    is_selector = entry.details["family"] == "selector" or "ask" in _time_symbols(entry)
    return not is_selector and not entry.details["changes_training"]


def _is_cheap(entry: Entry) -> bool:
    card = entry.details
    # Ensemble members are trained during the query, whether or not the formula says so.
    is_costly = _time_symbols(entry) & {*TRAININGS, "sweep"} or "ensemble" in card["requires"]
    return bool(card["time"]) and not is_costly and card["family"] != "control"


def _time_symbols(entry: Entry) -> frozenset[str]:
    time = entry.details["time"]
    return symbols_of(time) if time else frozenset()
