"""Create strategies from names, candidates and options."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from deepal_autoal.errors import DeepALError, InputError
from deepal_autoal.isolation.blame import blaming
from deepal_autoal.isolation.process_state import restored
from deepal_autoal.plugins.contract import check_requires
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.options import resolve_options
from deepal_autoal.plugins.registry import Entry
from deepal_autoal.querying.selector import SelectorStrategy, describe_strategy
from deepal_autoal.querying.strategy import Strategy
from deepal_autoal.strategies.candidate_selection import Candidates, CandidateSelection

logger = logging.getLogger(__name__)


def create_strategy(name: str, candidates: Candidates | None = None, **options: Any) -> Strategy:
    """Create a registered strategy.

    Args:
        name: A registered name; ``deepal strategies`` lists them.
        candidates: For selectors only: names of the candidates and of sets such as ``all-cheap`` (see
            `candidate_sets`), or, from a record, what these stood for; each selector has defaults. Strategies that
            only come from a set and cannot be created are left out, with a warning.
        options: Constructor options; ``**{"vote.oversample": 5}`` addresses the candidate ``vote``. Text is
            converted to the annotated type.

    Raises:
        UnknownNameError: If a strategy, a candidate or an option does not exist.
        InputError: If an option's value is invalid, candidates are given to a strategy that takes none, or a
            candidate is not allowed: a duplicate, the selector itself, or a strategy that changes training; if there
            is no such set, or nothing in it can be created.
        PluginError: If the plugin that provides the strategy is broken.
    """
    return create_with_options(name, candidates, options)


def create_with_options(name: str, candidates: Candidates | None, options: Mapping[str, Any]) -> Strategy:
    """Create a registered strategy as `create_strategy` does, with options of any name, as users type them."""
    if any(not isinstance(key, str) for key in options):
        raise InputError(f"options is {options!r}; give them by name, such as {{'oversample': 5}}")
    if "candidates" in options:
        raise InputError("candidates is not an option of a strategy: give candidates of their own, as in --candidates "
                         "entropy,margin")  # fmt: skip
    return _create(name, candidates, options, within=())


def recreate_strategy(described: Mapping[str, Any]) -> Strategy:
    """Create the strategy that `describe_strategy` described.

    Raises:
        UnknownNameError: If it, or a candidate, is not registered here.
    """
    options = dict(described["options"])
    candidates = described.get("candidates")
    for candidate in candidates or ():
        options.update({f"{candidate['name']}.{key}": value for key, value in candidate["options"].items()})
    names = None if candidates is None else [candidate["name"] for candidate in candidates]
    return create_with_options(described["name"], names, options)


def _create(name: str, candidates: Candidates | None, options: Mapping[str, Any], within: tuple[str, ...]) -> Strategy:
    entry = plugin_host().strategies.get(name)
    if name in within:
        raise InputError(f"strategy {name!r} would be its own candidate: {' > '.join((*within, name))}")
    cls = entry.load()
    own = {key: value for key, value in options.items() if "." not in key}
    addressed = {key: value for key, value in options.items() if "." in key}
    arguments = resolve_options(name, cls, own)
    if issubclass(cls, SelectorStrategy):
        selection = CandidateSelection.parse(cls.default_candidates if candidates is None else candidates, name)
        created = _create_candidates(selection, addressed, (*within, name))
        return _create_selector(entry, created, arguments, selection)
    if candidates is not None:
        raise InputError(f"strategy {name!r} takes no candidates; only selectors such as autoal and vote do")
    if addressed:
        raise InputError(f"option {next(iter(addressed))}: strategy {name!r} has no candidates")
    strategy: Strategy = entry.call(**arguments)
    return _complete(entry, strategy, arguments)


def without_candidates(selector: SelectorStrategy, names: Collection[str]) -> SelectorStrategy:
    """Create a selector from `create_strategy` again, without some of its candidates.

    Raises:
        InputError: If none is left.
    """
    kept = {name: candidate for name, candidate in selector.candidates.items() if name not in names}
    entry = plugin_host().strategies.get(selector.name)
    return _create_selector(entry, kept, selector.options, CandidateSelection(selector.candidate_words))


def _create_candidates(
    selection: CandidateSelection, addressed: Mapping[str, Any], within: tuple[str, ...]
) -> dict[str, Strategy]:
    """Return the candidates by name, except optional ones that cannot be created.

    Args:
        selection: The candidates; those with an option of their own are not optional.
        addressed: Options of candidates, as ``name.key``.
        within: The enclosing selectors, outermost first.
    """
    names = selection.names
    for key in addressed:
        if key.partition(".")[0] not in names:
            raise InputError(f"option {key}: {key.partition('.')[0]!r} is not among the candidates {', '.join(names)}")
    optional = selection.optional - {key.partition(".")[0] for key in addressed}
    created = {}
    for name in names:
        theirs = {key.partition(".")[2]: value for key, value in addressed.items() if key.startswith(f"{name}.")}
        try:
            if name in optional and issubclass(plugin_host().strategies.load(name), SelectorStrategy):
                continue  # its card does not say that it is one
            created[name] = _create_candidate(name, theirs, within)
        except DeepALError as error:
            if name not in optional:
                raise
            logger.warning("candidate %r of %r is left out: %s", name, within[-1], error)
    return created


def _create_candidate(name: str, options: Mapping[str, Any], within: tuple[str, ...]) -> Strategy:
    strategy = _create(name, None, options, within)
    if strategy.changes_training:
        by_options = "changes_training" in vars(type(strategy))
        raise InputError(
            f"{name!r} changes how the task model is trained and cannot be a candidate of {within[-1]!r}; "
            + (f"see its options: `deepal strategies {name}`" if by_options else "leave it out")
        )
    return strategy


def _create_selector(
    entry: Entry, created: Mapping[str, Strategy], arguments: Mapping[str, Any], selection: CandidateSelection
) -> SelectorStrategy:
    """Return a selector over the candidates that could be created."""
    if not created:
        raise InputError(
            f"strategy {entry.name!r}: no candidate is left of {','.join(selection.by_word)}; name some, such as "
            "--candidates entropy,margin,kmeans"
        )
    selector: SelectorStrategy = entry.call(candidates=created, **arguments)
    _complete(entry, selector, arguments)
    selector.candidate_words = selection.only(created).describe()
    return selector


def _complete(entry: Entry, strategy: Strategy, arguments: Mapping[str, Any]) -> Strategy:
    """Set the attributes that the core sets after construction, and return the strategy."""
    with restored([]), blaming(f"strategy {entry.name!r} of {entry.provider}", "its creation", own_errors=True):
        strategy.name = entry.name
        strategy.options = arguments
        strategy.provider = entry.provider
        check_requires(entry.name, strategy.requires)
        describe_strategy(strategy)
    return strategy
