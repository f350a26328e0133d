"""Checks that what a strategy declares is true: needs, card, options, candidates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deepal_autoal.errors import DeepALError, InputError
from deepal_autoal.jsonable import to_jsonable
from deepal_autoal.plugins.contract import REQUIREMENTS
from deepal_autoal.plugins.options import constructor_options
from deepal_autoal.querying.selector import SelectorStrategy, describe_strategy
from deepal_autoal.strategies.factory import create_strategy, recreate_strategy
from deepal_autoal.testing.evidence import other_process_of
from deepal_autoal.testing.observation import NEEDS
from deepal_autoal.testing.report import CheckFailedError, CheckSkippedError

if TYPE_CHECKING:
    from deepal_autoal.plugins.registry import Entry
    from deepal_autoal.testing.subject import Subject


def needs_are_declared(subject: Subject) -> str | None:
    """All outputs that a query asks for are in `requires`."""
    declared: Any = subject.create().requires
    if not isinstance(declared, frozenset | set) or not declared <= REQUIREMENTS:
        raise CheckFailedError(
            f"requires to be a frozenset of names from {_list(REQUIREMENTS)}", repr(declared), "write frozenset({...})"
        )
    _ = subject.reference
    other_process_of(subject)  # it runs further rounds
    if not subject.is_slow:
        for size in (1, subject.problem.n_candidates // 2):
            subject.ask(subject.problem, size)
    calls = subject.calls.calls
    used = frozenset(call.need for call in calls)
    if not used <= declared:
        methods = sorted({f"{call.method}()" for call in calls if call.need not in declared})
        own, right = ("own_requires", used - declared) if subject.is_selector else ("requires", used)
        raise CheckFailedError(
            f"only calls of declared outputs: requires = {_list(declared)}",
            f"{', '.join(methods)}, which {'needs' if len(methods) == 1 else 'need'} {_list(used - declared)}",
            f"set {own} = frozenset({{{_quoted(right)}}}) on the class, and requires on its card",
        )
    unused = declared - used - {"differentiable"}  # which is no output
    if unused and not subject.is_selector:
        methods = sorted(f"{method}()" for method, need in NEEDS.items() if need in unused)
        return (
            f"no call of {' or '.join(methods)} was seen: if there is none, leave {_list(unused)} out of requires, "
            "since models that lack it are refused without need"
        )
    return None


def card_is_true(subject: Subject) -> None:
    """The registration (requires, changes_training) is true with default options and candidates."""
    entry = _registered(subject)
    if not isinstance(entry.target, str):
        raise CheckSkippedError("registered as a class, from which the card is read")
    try:
        default = create_strategy(entry.name)  # options may change either
    except DeepALError as error:
        raise CheckSkippedError(
            f"it cannot be created with default options, which the card describes: {error}"
        ) from None
    for key, true in (("requires", frozenset(default.requires)), ("changes_training", default.changes_training)):
        said = entry.details[key]
        if said != true:
            value = f"{{{_quoted(default.requires)}}}" if key == "requires" else repr(true)
            raise CheckFailedError(
                f"{key} on the card to be the class's: {_format_value(true)}",
                _format_value(said),
                f"write registry.add({entry.name!r}, {entry.target!r}, {key}={value}, ...)",
            )


def options_recreate_it(subject: Subject) -> None:
    """Its options survive JSON and the command line, and the strategy recreated from them has the same ones."""
    entry = _registered(subject)
    described = describe_strategy(subject.create())
    own = subject.create().options
    for key, value in own.items():
        try:
            to_jsonable(value)
        except ValueError as error:
            raise CheckFailedError(
                f"the option {key} in a form that JSON can store", str(error), "take numbers, strings, lists or None"
            ) from error
    advice = "annotate the constructor's parameters, and let describe_options() return what the constructor takes"
    try:
        again = describe_strategy(recreate_strategy(json.loads(json.dumps(described))))
    except (DeepALError, TypeError, ValueError) as error:
        raise CheckFailedError(
            f"a strategy created from its record {described['options']}", str(error), advice
        ) from error
    if again != described:
        raise CheckFailedError(f"the options {described['options']} again", f"{again['options']}", advice)
    texts = {key: _as_text(value) for key, value in own.items()}
    try:
        typed = create_strategy(entry.name, subject.candidates, **{**subject.options, **texts})
    except DeepALError as error:
        line = " ".join(f"-o {key}={text}" for key, text in texts.items())
        raise CheckFailedError(f"a strategy created with {line}", str(error), advice) from error
    if to_jsonable(dict(typed.options), strict=False) != to_jsonable(dict(own), strict=False):
        raise CheckFailedError(f"the options {dict(own)} from their text", f"{dict(typed.options)}", advice)


def unknown_options_are_refused(subject: Subject) -> None:
    """An unknown option is refused by name."""
    entry = _registered(subject)
    name = "no_such_option"
    try:
        create_strategy(entry.name, subject.candidates, **{**subject.options, name: 1})
    except InputError as error:
        if name not in str(error):
            raise CheckFailedError(
                f"an error that names {name}", str(error), "leave the check to create_strategy"
            ) from error
    else:
        known = ", ".join(constructor_options(entry.load())) or "none"
        raise CheckFailedError(f"an error for -o {name}=1", "none", f"name the options ({known}) one by one")


def candidates_can_be_chosen(subject: Subject) -> None:
    """A selector works with one candidate, or refuses that at once, and with its candidates in another order."""
    entry = subject.entry
    if not subject.is_selector:
        raise CheckSkippedError("it is not a selector")
    if entry is None:
        raise CheckSkippedError("only a registered selector takes candidates by name")
    selector = subject.create()
    assert isinstance(selector, SelectorStrategy)
    names = list(selector.candidates)
    own = {key: value for key, value in subject.options.items() if "." not in key}
    for chosen in ([names[-1]], names[::-1]):
        try:
            strategy = create_strategy(entry.name, chosen, **own)
        except InputError:
            if len(chosen) == len(names):
                raise
            continue  # it needs a certain number, and says so
        assert isinstance(strategy, SelectorStrategy)
        if list(strategy.candidates) != chosen:
            raise CheckFailedError(f"the candidates {chosen}", f"{list(strategy.candidates)}", "use those given")
        if chosen != names[::-1] or not subject.is_slow:
            subject.ask(subject.problem, strategy=strategy)


def _registered(subject: Subject) -> Entry:
    if subject.entry is None:
        raise CheckSkippedError("not registered: it has no card, and is not created by name")
    return subject.entry


def _list(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _quoted(names: Any) -> str:
    return ", ".join(f'"{name}"' for name in sorted(names))


def _format_value(value: Any) -> str:
    return _list(value) if isinstance(value, frozenset) else str(value)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "none" if value is None else json.dumps(to_jsonable(value))
