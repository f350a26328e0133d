"""Oracles by name. The names are in no registry: only what simulates a run looks here."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from deepal_autoal.errors import UnknownNameError
from deepal_autoal.isolation.blame import BUILTIN_DISTRIBUTION, Provider
from deepal_autoal.oracles.base import Oracle
from deepal_autoal.oracles.class_filling import TRUE_LABEL_STRATEGIES
from deepal_autoal.oracles.greedy import Greedy
from deepal_autoal.oracles.of_candidates import BestCandidate, BestOfStrategies, CandidateOracle, PreviousBest
from deepal_autoal.plugins.registry import ORACLE_PREFIX, Entry, is_oracle
from deepal_autoal.querying.strategy import Strategy
from deepal_autoal.strategies.candidate_selection import Candidates, CandidateSelection
from deepal_autoal.strategies.candidate_sets import check_names
from deepal_autoal.strategies.factory import (
    check_options,
    create_copy,
    create_from_entry,
    create_registered,
    read_candidates,
)
from deepal_autoal.strategies.given import StrategyLike

ORACLES: dict[str, type[Oracle]] = {
    "best": BestCandidate, "boss": BestOfStrategies, "greedy": Greedy, "previous": PreviousBest,
}  # fmt: skip
# What an oracle's own candidates count as: those that the model cannot serve are left out, as of other sets.
_DEFAULT_SET = "all-default"


def oracle_class(name: str) -> type[Oracle]:
    """Return the class of an oracle by its name, such as ``oracle-boss``.

    Raises:
        UnknownNameError: If there is none.
    """
    short = name.removeprefix(ORACLE_PREFIX)
    if short not in ORACLES:
        raise UnknownNameError("oracle", short, ORACLES)
    return ORACLES[short]


def takes_candidates(name: str) -> bool:
    """Return whether an oracle has candidates."""
    return issubclass(oracle_class(name), CandidateOracle)


def check_candidates(words: Iterable[str]) -> None:
    """Check that each is a registered strategy, a set, or one that only oracles have.

    Raises:
        DeepALError: See `check_names`.
    """
    own = {cls.name for cls in TRUE_LABEL_STRATEGIES}
    check_names([word for word in words if word not in own])


def create_named(
    name: str, candidates: str | Candidates | None, made: Mapping[str, Strategy], options: Mapping[str, Any]
) -> Strategy:
    """Create what a simulated run names: a registered strategy (see `create_registered`) or an oracle."""
    if not is_oracle(name):
        return create_registered(name, candidates, made, options)
    cls = oracle_class(name)
    check_options(options)
    provider = Provider(BUILTIN_DISTRIBUTION, version(BUILTIN_DISTRIBUTION))
    selection: str | Candidates | CandidateSelection | None = candidates
    if issubclass(cls, CandidateOracle):
        helpers: dict[str, Strategy] = {}
        for helper in TRUE_LABEL_STRATEGIES:
            helpers[helper.name] = helper()
            helpers[helper.name].provider = provider
        made = {**helpers, **made}
        if candidates is None:
            selection = CandidateSelection({_DEFAULT_SET: cls.default_candidates})
    return create_from_entry(Entry("strategy", name, cls, provider), selection, made, options)


def create_contender(
    given: StrategyLike, candidates: str | Candidates | Iterable[Any] | None, options: Mapping[str, Any]
) -> Strategy:
    """Return a new strategy or oracle for a run of a benchmark (see `create_copy`)."""
    if isinstance(given, str) and is_oracle(given):
        words, made = read_candidates(copy.deepcopy(candidates))
        return create_named(given, words, made, options)
    return create_copy(given, candidates, options)
