"""Create strategies from names, candidates and options."""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from deepal_autoal.errors import DeepALError, InputError
from deepal_autoal.isolation.blame import blaming
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.isolation.process_state import restored
from deepal_autoal.jsonable import to_jsonable
from deepal_autoal.plugins.code_digest import arguments_kept, code_digest
from deepal_autoal.plugins.contract import check_requires
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.options import constructor_options, resolve_options
from deepal_autoal.plugins.references import absolute_reference, is_reference, load_reference
from deepal_autoal.plugins.registry import IN_PROCESS, Entry
from deepal_autoal.querying.selector import SelectorStrategy, describe_strategy
from deepal_autoal.querying.strategy import Strategy
from deepal_autoal.run_settings import split_names
from deepal_autoal.strategies.candidate_selection import Candidates, CandidateSelection
from deepal_autoal.strategies.given import StrategyLike, check_given, entry_of, from_function, given_items, own_name
from deepal_autoal.strategies.written import read_strategy

logger = logging.getLogger(__name__)


@engine_call()
def create_strategy(
    name: StrategyLike, candidates: str | Candidates | Iterable[Any] | None = None, **options: Any
) -> Strategy:
    """Create a strategy by its registered name, from its class, or from a function of the context.

    Args:
        name: A registered name (``deepal strategies`` lists them) or where a strategy is defined, as ``file.py:Mine``
            or ``module:Mine``, all also with options and candidates as in ``vote[candidates=[entropy,margin],
            power=2]``; a subclass of `Strategy`, or a function of the context that returns one score per candidate. A
            strategy is returned as it is.
        candidates: For selectors only: names of the candidates and of sets such as ``all-cheap`` (see
            `candidate_sets`), or, from a record, what these stood for; each selector has defaults. Strategies that
            only come from a set and cannot be created are left out, with a warning. In place of a name, a strategy,
            a class or a function may be given; its own name is the candidate's.
        options: Constructor options; ``**{"vote.power": 5}`` addresses the candidate ``vote``. Text is
            converted to the annotated type.

    Raises:
        UnknownNameError: If a strategy, a candidate or an option does not exist.
        InputError: If an option's value is invalid, candidates are given to a strategy that takes none, what is given
            as a strategy is none, or a candidate is not allowed: a duplicate, the selector itself, or a strategy that
            changes training; if there is no such set, or nothing in it can be created.
        PluginError: If the plugin that provides the strategy is broken.
    """
    return create_with_options(name, candidates, options)


def create_with_options(
    given: StrategyLike, candidates: str | Candidates | Iterable[Any] | None, options: Mapping[str, Any]
) -> Strategy:
    """Create a strategy as `create_strategy` does, with options of any name, as users type them."""
    check_options(options)
    if isinstance(given, str):
        given, candidates, options = read_strategy(given, candidates, options)
    words, made = read_candidates(candidates)
    if isinstance(given, str):
        return create_registered(given, words, made, options)
    return _create_given(given, words, made, options)


def _create_given(
    given: Any, words: str | Candidates | CandidateSelection | None, made: Mapping[str, Strategy],
    options: Mapping[str, Any], what: str = "strategy",
) -> Strategy:  # fmt: skip
    """Create a strategy from an object; candidates are what `read_candidates` returned."""
    check_given(given, what)
    if isinstance(given, type):
        _require_all_arguments(given, options)
        created = _create(entry_of(given), words, options, (), made)
        created._code = code_digest(given)
        return created
    if words is not None or options:
        state = "is a function and takes none" if not isinstance(given, Strategy) else "is created already"
        raise InputError(f"candidates and options go with a strategy's name or class; the strategy given {state}")
    if isinstance(given, Strategy):
        if not given.name:
            given.name = own_name(type(given))
        if given.provider is None:
            # What it has learned since it was given first is not what was given.
            arguments = code_digest(arguments_kept(given))
            if given._code_of_arguments != arguments:
                given._code, given._code_of_arguments = code_digest(given), arguments
        return given
    created = from_function(given)
    created._code = code_digest(given)
    return created


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse what cannot be an option of a strategy.

    Raises:
        InputError: If a name is no text, or is that of the candidates, which are no option.
    """
    if any(not isinstance(key, str) for key in options):
        raise InputError(f"options is {options!r}; give them by name, such as {{'power': 5}}")
    if "candidates" in options:
        raise InputError(
            "candidates is not an option of a strategy: give candidates of their own, as in --candidates entropy,margin"
        )


def create_copy(
    given: StrategyLike, candidates: str | Candidates | Iterable[Any] | None, options: Mapping[str, Any]
) -> Strategy:
    """Return a new strategy, as `create_strategy` does, also where a strategy itself is given."""
    given, candidates = copy.deepcopy((given, candidates))
    return create_with_options(given, candidates, options)


def name_of(given: object) -> str:
    """Return the name of a strategy that is given as an object, as records have it."""
    return given.name or own_name(type(given)) if isinstance(given, Strategy) else own_name(given)


def defined_name(written: str) -> str:
    """Return the name of a strategy that is written as where it is defined; a name is returned as it is."""
    return name_of(load_reference(written, "strategy")) if is_reference(written) else written


def read_candidates(
    candidates: str | Candidates | Iterable[Any] | None,
) -> tuple[str | Candidates | None, dict[str, Strategy]]:
    """Return candidates by name only, and those given as objects by their own names.

    Raises:
        InputError: If something is given as a candidate that is none, or two objects have the same name.
    """
    if candidates is None or isinstance(candidates, str | Mapping):
        return candidates, {}
    names: list[str] = []
    made: dict[str, Strategy] = {}
    for item in given_items(candidates):
        if isinstance(item, str):
            names.append(item)
            continue
        check_given(item, "a candidate")
        name = name_of(item)
        if name in made:
            raise InputError(f"two candidates are named {name!r}; set the attribute `name` of one of them")
        made[name] = create_strategy(item)
        names.append(name)
    return names, made


def create_registered(
    name: str, candidates: str | Candidates | None, made: Mapping[str, Strategy], options: Mapping[str, Any]
) -> Strategy:
    """Create a strategy by name from what `read_candidates` returned (see `create_strategy`)."""
    check_options(options)
    if is_reference(name):
        return _create_defined(name, candidates, made, options)
    return _create(plugin_host().strategies.get(name), candidates, options, (), made)


def _create_defined(
    reference: str, candidates: str | Candidates | None, made: Mapping[str, Strategy], options: Mapping[str, Any]
) -> Strategy:
    """Create the strategy that a file or module defines; of an instance, every call gives a copy."""
    given = copy.deepcopy(load_reference(reference, "strategy"))
    created = _create_given(given, candidates, made, options, f"strategy {reference}")
    created._source = absolute_reference(reference)
    return created


def create_from_entry(
    entry: Entry,
    candidates: str | Candidates | CandidateSelection | None,
    made: Mapping[str, Strategy],
    options: Mapping[str, Any],
) -> Strategy:
    """Create a strategy from an entry that need not be registered (see `create_registered`)."""
    return _create(entry, candidates, options, (), made)


def recreate_strategy(described: Mapping[str, Any]) -> Strategy:
    """Create the strategy that `describe_strategy` described.

    Raises:
        UnknownNameError: If it, or a candidate, is not registered here.
        InputError: If it was given as an object.
    """
    if described.get("code") and not described.get("source") and described["name"] not in plugin_host().strategies:
        raise InputError(f"the strategy {described['name']!r} was given as an object; give it again: strategy=...")
    candidates = described.get("candidates")
    names = None if candidates is None else [_where(candidate) for candidate in candidates]
    return create_with_options(_where(described), names, described_options(described))


def recreate_from(given: StrategyLike, described: Mapping[str, Any], where: object) -> Strategy:
    """Create the strategy that `describe_strategy` described from what it was created from, a class with its options.

    Args:
        given: What is said to be the same strategy.
        described: The strategy of before.
        where: What it was described in, for messages.

    Raises:
        InputError: If it is another one.
    """
    if isinstance(given, type):
        candidates = described.get("candidates")
        names = None if candidates is None else [_where(candidate) for candidate in candidates]
        created = create_with_options(given, names, described_options(described))
    else:
        created = create_strategy(given)
    now = to_jsonable(describe_strategy(created), strict=False)
    if not _is_as_described(now, to_jsonable(described, strict=False)):
        raise InputError(f"{where} is of another strategy than the given {created.name}: give the one it began with")
    return created


def _is_as_described(now: Mapping[str, Any], described: Mapping[str, Any]) -> bool:
    if now.get("code") != described.get("code") or now["options"] != described["options"]:
        return False
    if not described.get("code") and now["name"] != described["name"]:
        return False
    candidates = {candidate["name"]: candidate for candidate in now.get("candidates") or ()}
    return all(
        candidate["name"] in candidates and _is_as_described(candidates[candidate["name"]], candidate)
        for candidate in described.get("candidates") or ()
    )


def _where(described: Mapping[str, Any]) -> str:
    return str(described.get("source") or described["name"])


def described_options(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a strategy as `describe_strategy` described it, those of candidates as ``name.key``."""
    options = dict(described["options"])
    for candidate in described.get("candidates") or ():
        options.update({f"{candidate['name']}.{key}": value for key, value in candidate["options"].items()})
    return options


def _create(
    entry: Entry,
    candidates: str | Candidates | CandidateSelection | None,
    options: Mapping[str, Any],
    within: tuple[str, ...],
    made: Mapping[str, Strategy],
) -> Strategy:
    name = entry.name
    if name in within:
        raise InputError(f"strategy {name!r} would be its own candidate: {' > '.join((*within, name))}")
    cls = entry.load()
    own = {key: value for key, value in options.items() if "." not in key}
    addressed = {key: value for key, value in options.items() if "." in key}
    arguments = resolve_options(name, cls, own)
    if issubclass(cls, SelectorStrategy):
        words = cls.default_candidates if candidates is None else candidates
        defined: dict[str, str] = {}
        if not isinstance(words, CandidateSelection):
            words, defined = _read_defined(words)
            words = CandidateSelection.parse(words, name)
        created = _create_candidates(words, addressed, (*within, name), made, defined)
        selector = _create_selector(entry, created, arguments, words)
        # A record says where they are defined.
        selector.candidate_words = {defined.get(word, word): names for word, names in selector.candidate_words.items()}
        return _with_code(selector, cls, entry)
    if candidates is not None:
        raise InputError(f"strategy {name!r} takes no candidates; only selectors such as autoal and vote do")
    if addressed:
        raise InputError(f"option {next(iter(addressed))}: strategy {name!r} has no candidates")
    strategy: Strategy = entry.call(**arguments)
    return _with_code(_complete(entry, strategy, arguments), cls, entry)


def _with_code(strategy: Strategy, cls: type, entry: Entry) -> Strategy:
    """Set the digest of a strategy whose name may mean another one in the next process."""
    if entry.provider == IN_PROCESS:
        strategy._code = code_digest(cls)
    return strategy


def _read_defined(words: str | Candidates) -> tuple[str | Candidates, dict[str, str]]:
    """Return candidates by name, and where those of files and modules are defined, by name.

    Raises:
        InputError: If two of them have one name, or what is defined there is no strategy.
    """
    given = split_names(words) if isinstance(words, str) else words
    names: dict[str, str] = {}
    for word in filter(is_reference, given):
        found = load_reference(word, "candidate")
        check_given(found, f"candidate {word}")
        names[word] = name_of(found)
    if not names:
        return words, {}
    if len(set(names.values())) < len(names):
        raise InputError(f"two candidates have the same name ({', '.join(names)}); rename one of them")
    defined = {name: absolute_reference(word) for word, name in names.items()}
    if isinstance(given, Mapping):
        return {names.get(word, word): members for word, members in given.items()}, defined
    return [names.get(word, word) for word in given], defined


def without_candidates(selector: SelectorStrategy, names: Collection[str]) -> SelectorStrategy:
    """Create a selector from `create_strategy` again, without some of its candidates.

    Raises:
        InputError: If none is left.
    """
    kept = {name: candidate for name, candidate in selector.candidates.items() if name not in names}
    registered = plugin_host().strategies
    entry = entry_of(type(selector))
    if selector.name in registered:
        entry = registered.get(selector.name)
    elif selector.provider is not None:
        entry = replace(entry, name=selector.name, provider=selector.provider)
    return _create_selector(entry, kept, selector.options, CandidateSelection(selector.candidate_words))


def _create_candidates(
    selection: CandidateSelection,
    addressed: Mapping[str, Any],
    within: tuple[str, ...],
    made: Mapping[str, Strategy],
    defined: Mapping[str, str],
) -> dict[str, Strategy]:
    """Return the candidates by name, except optional ones that cannot be created.

    Args:
        selection: The candidates; those with an option of their own are not optional.
        addressed: Options of candidates, as ``name.key``.
        within: The enclosing selectors, outermost first.
        made: Candidates that were given as objects.
        defined: Where candidates of files and modules are defined, by name.
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
            if name in made:
                if theirs:
                    raise InputError(f"option {name}.{next(iter(theirs))}: the candidate {name!r} is created already")
                created[name] = _checked_candidate(name, made[name], within)
                continue
            if name in defined:
                created[name] = _checked_candidate(name, _create_defined(defined[name], None, {}, theirs), within)
                continue
            if name in optional and issubclass(plugin_host().strategies.load(name), SelectorStrategy):
                continue  # its card does not say that it is one
            created[name] = _create_candidate(name, theirs, within)
        except DeepALError as error:
            if name not in optional:
                raise
            logger.warning("candidate %r of %r is left out: %s", name, within[-1], error)
    return created


def _create_candidate(name: str, options: Mapping[str, Any], within: tuple[str, ...]) -> Strategy:
    return _checked_candidate(name, _create(plugin_host().strategies.get(name), None, options, within, {}), within)


def _checked_candidate(name: str, strategy: Strategy, within: tuple[str, ...]) -> Strategy:
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


def _require_all_arguments(cls: type[Strategy], given: Mapping[str, Any]) -> None:
    """Raise an error if a class needs more than what is given; the message says that an instance can be given."""
    missing = [
        key
        for key, parameter in constructor_options(cls).items()
        if key not in given and parameter.default is parameter.empty
    ]
    if missing:
        arguments = ", ".join(f"{key}=..." for key in missing)
        raise InputError(
            f"strategy {cls.__name__!r} cannot be created without {', '.join(missing)}: give "
            f"{cls.__name__}({arguments}), or options such as {{{missing[0]!r}: ...}}"
        )


def _complete(entry: Entry, strategy: Strategy, arguments: Mapping[str, Any]) -> Strategy:
    """Set the attributes that the core sets after construction, and return the strategy."""
    with restored([]), blaming(f"strategy {entry.name!r} of {entry.provider}", "its creation", own_errors=True):
        strategy.name = entry.name
        strategy.options = arguments
        strategy.provider = entry.provider
        check_requires(entry.name, strategy.requires)
        describe_strategy(strategy)
    return strategy
