"""Makes strategies out of names, candidates and options."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from deepal_autoal.candidates import (
    Candidates,
    names_by_sets_only,
    names_of,
    resolve_words,
    without_names,
)
from deepal_autoal.errors import DeepALError, InputError
from deepal_autoal.options import resolve_options
from deepal_autoal.plugins import plugin_host
from deepal_autoal.process import restored
from deepal_autoal.registry import Entry, check_requires, stands_for_a_set
from deepal_autoal.strategy import SelectorStrategy, Strategy, blaming, describe_strategy

logger = logging.getLogger(__name__)


def create_strategy(name: str, candidates: Candidates | None = None, **options: Any) -> Strategy:
    """Create a registered strategy.

    Args:
        name: A registered name; ``deepal strategies`` lists them.
        candidates: Names of the candidates, for selectors only, and sets of them such as ``all-cheap`` (see
            `candidate_sets`), or what a record says that these stood for; each selector has defaults. What only a
            set brought is left out, with a warning, if it cannot be made.
        options: Constructor options; ``**{"vote.oversample": 5}`` addresses the candidate ``vote``. Text is
            converted to the annotated type.

    Raises:
        UnknownNameError: If a strategy, a candidate or an option does not exist.
        InputError: If an option's value is unusable, candidates are given to a strategy that takes none, or a
            candidate cannot be one: twice the same, the selector itself, or one that changes training; if there is
            no such set, or nothing in it can be made.
        PluginError: If the plugin that provides the strategy is broken.
    """
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
    return create_strategy(described["name"], names, **options)


def _create(name: str, candidates: Candidates | None, options: Mapping[str, Any], within: tuple[str, ...]) -> Strategy:
    entry = plugin_host().strategies.get(name)
    if name in within:
        raise InputError(f"strategy {name!r} would be its own candidate: {' > '.join((*within, name))}")
    cls = entry.load()
    own = {key: value for key, value in options.items() if "." not in key}
    addressed = {key: value for key, value in options.items() if "." in key}
    arguments = resolve_options(name, cls, own)
    if issubclass(cls, SelectorStrategy):
        given = cls.default_candidates if candidates is None else candidates
        resolved = resolve_words(name, given)
        is_fixed = isinstance(given, Mapping)
        made = _create_candidates(resolved, addressed, (*within, name), is_fixed)
        left_out = set(names_of(resolved)) - set(made)
        return _create_selector(entry, made, arguments, without_names(resolved, left_out))
    if candidates is not None:
        raise InputError(f"strategy {name!r} takes no candidates; only selectors such as autoal and vote do")
    if addressed:
        raise InputError(f"option {next(iter(addressed))}: strategy {name!r} has no candidates")
    strategy: Strategy = entry.call(**arguments)
    return _complete(entry, strategy, arguments)


def without_candidates(selector: SelectorStrategy, names: Collection[str]) -> SelectorStrategy:
    """Return a selector that `create_strategy` made, made again without some of its candidates.

    Raises:
        InputError: If none is left.
    """
    kept = {name: candidate for name, candidate in selector.candidates.items() if name not in names}
    entry = plugin_host().strategies.get(selector.name)
    return _create_selector(entry, kept, selector.options, without_names(selector.candidate_words, names))


def _create_candidates(
    resolved: Mapping[str, Sequence[str]], addressed: Mapping[str, Any], within: tuple[str, ...], is_fixed: bool
) -> dict[str, Strategy]:
    """Return the candidates by name, without those that only a set brought and that cannot be made.

    Args:
        resolved: The names by the words that they were given by.
        addressed: Options of candidates, as ``name.key``.
        within: The selectors around, outermost first.
        is_fixed: Whether nothing may be left out, as a record says what there was.
    """
    names = names_of(resolved)
    for key in addressed:
        if key.partition(".")[0] not in names:
            raise InputError(f"option {key}: {key.partition('.')[0]!r} is not among the candidates {', '.join(names)}")
    optional = set() if is_fixed else names_by_sets_only(resolved) - {key.partition(".")[0] for key in addressed}
    made = {}
    for name in names:
        theirs = {key.partition(".")[2]: value for key, value in addressed.items() if key.startswith(f"{name}.")}
        try:
            if name in optional and issubclass(plugin_host().strategies.load(name), SelectorStrategy):
                continue  # its card does not say so
            made[name] = _create_candidate(name, theirs, within)
        except DeepALError as error:
            if name not in optional:
                raise
            logger.warning("candidate %r of %r is left out: %s", name, within[-1], error)
    return made


def _create_candidate(name: str, options: Mapping[str, Any], within: tuple[str, ...]) -> Strategy:
    made = _create(name, None, options, within)
    if made.changes_training:
        by_options = "changes_training" in vars(type(made))
        raise InputError(
            f"{name!r} changes how the task model is trained and cannot be a candidate of {within[-1]!r}; "
            + (f"see its options: `deepal strategies {name}`" if by_options else "leave it out")
        )
    return made


def _create_selector(
    entry: Entry, made: Mapping[str, Strategy], arguments: Mapping[str, Any], resolved: Mapping[str, Sequence[str]]
) -> SelectorStrategy:
    if not made:
        raise InputError(
            f"strategy {entry.name!r}: no candidate is left of {','.join(resolved)}; name some, such as "
            "--candidates entropy,margin,kmeans"
        )
    selector: SelectorStrategy = entry.call(candidates=made, **arguments)
    _complete(entry, selector, arguments)
    selector.candidate_words = dict(resolved) if any(map(stands_for_a_set, resolved)) else {}
    return selector


def _complete(entry: Entry, strategy: Strategy, arguments: Mapping[str, Any]) -> Strategy:
    """Return the strategy, which now knows what the core knows of it."""
    with restored([]), blaming(f"strategy {entry.name!r} of {entry.provider}", "its making", own_errors=True):
        strategy.name = entry.name
        strategy.options = arguments
        strategy.provider = entry.provider
        check_requires(entry.name, strategy.requires)
        describe_strategy(strategy)
    return strategy
