"""Checks that what a strategy says of itself is so: needs, card, options, candidates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deepal_autoal.errors import DeepALError, InputError
from deepal_autoal.factory import create_strategy, recreate_strategy
from deepal_autoal.options import constructor_options
from deepal_autoal.plain import plain
from deepal_autoal.registry import REQUIREMENTS
from deepal_autoal.strategy import SelectorStrategy, describe_strategy
from deepal_autoal.testing.observation import NEEDS
from deepal_autoal.testing.report import CheckFailedError, CheckSkippedError

if TYPE_CHECKING:
    from deepal_autoal.registry import Entry
    from deepal_autoal.testing.subject import Subject


def needs_are_declared(subject: Subject) -> str | None:
    """The outputs that any query asks for are in `requires`."""
    declared: Any = subject.create().requires
    if not isinstance(declared, frozenset | set) or not declared <= REQUIREMENTS:
        raise CheckFailedError(
            f"requires to be a frozenset out of {_list(REQUIREMENTS)}", repr(declared), "write frozenset({...})"
        )
    _ = subject.reference
    subject.start_other_process()  # it has gone through further rounds
    if not subject.is_slow:
        for size in (1, subject.problem.n_candidates // 2):
            subject.ask(subject.problem, size)
    calls = subject.calls.calls
    used = frozenset(call.need for call in calls)
    if not used <= declared:
        methods = sorted({f"{call.method}()" for call in calls if call.need not in declared})
        own, right = ("own_requires", used - declared) if subject.is_selector else ("requires", used)
        raise CheckFailedError(
            f"calls of what is declared only: requires = {_list(declared)}",
            f"{', '.join(methods)}, which {'needs' if len(methods) == 1 else 'need'} {_list(used - declared)}",
            f"set {own} = frozenset({{{_quoted(right)}}}) on the class, and requires on its card",
        )
    unused = declared - used
    if unused and not subject.is_selector:
        methods = sorted(f"{method}()" for method, need in NEEDS.items() if need in unused)
        return (
            f"no call of {' or '.join(methods)} was seen: if there is none, leave {_list(unused)} out of requires, "
            "as models that lack it are refused for nothing"
        )
    return None


def card_is_true(subject: Subject) -> None:
    """What the registration says (requires, changes_training) is so with default options and candidates."""
    entry = _registered(subject)
    if not isinstance(entry.target, str):
        raise CheckSkippedError("registered with the class itself, from which the card is read")
    try:
        made = create_strategy(entry.name)  # options may change either
    except DeepALError as error:
        raise CheckSkippedError(f"it cannot be made with default options, which the card is about: {error}") from None
    for key, true in (("requires", frozenset(made.requires)), ("changes_training", made.changes_training)):
        said = entry.details[key]
        if said != true:
            value = f"{{{_quoted(made.requires)}}}" if key == "requires" else repr(true)
            raise CheckFailedError(
                f"{key} on the card to be the class's: {_spell(true)}",
                _spell(said),
                f"write registry.add({entry.name!r}, {entry.target!r}, {key}={value}, ...)",
            )


def options_recreate_it(subject: Subject) -> None:
    """JSON and the command line's text hold its options, and the strategy made of them again has the same."""
    entry = _registered(subject)
    described = describe_strategy(subject.create())
    own = subject.create().options
    for key, value in own.items():
        try:
            plain(value)
        except ValueError as error:
            raise CheckFailedError(
                f"the option {key} in a form that JSON holds", str(error), "take numbers, strings, lists or None"
            ) from error
    advice = "annotate the constructor's parameters, and let describe_options() return what the constructor takes"
    try:
        again = describe_strategy(recreate_strategy(json.loads(json.dumps(described))))
    except (DeepALError, TypeError, ValueError) as error:
        raise CheckFailedError(f"a strategy made of its record {described['options']}", str(error), advice) from error
    if again != described:
        raise CheckFailedError(f"the options {described['options']} again", f"{again['options']}", advice)
    texts = {key: _as_text(value) for key, value in own.items()}
    try:
        typed = create_strategy(entry.name, subject.candidates, **{**subject.options, **texts})
    except DeepALError as error:
        line = " ".join(f"-o {key}={text}" for key, text in texts.items())
        raise CheckFailedError(f"a strategy made with {line}", str(error), advice) from error
    if plain(dict(typed.options), strict=False) != plain(dict(own), strict=False):
        raise CheckFailedError(f"the options {dict(own)} from their text", f"{dict(typed.options)}", advice)


def unknown_options_are_refused(subject: Subject) -> None:
    """An option that it does not have is refused by name."""
    entry = _registered(subject)
    name = "no_such_option"
    try:
        create_strategy(entry.name, subject.candidates, **{**subject.options, name: 1})
    except InputError as error:
        if name not in str(error):
            raise CheckFailedError(f"an error that names {name}", str(error), "leave it to create_strategy") from error
    else:
        known = ", ".join(constructor_options(entry.load())) or "none"
        raise CheckFailedError(f"an error for -o {name}=1", "none", f"name the options ({known}) one by one")


def candidates_can_be_chosen(subject: Subject) -> None:
    """A selector works with one candidate, and with its candidates in another order."""
    entry = subject.entry
    if not subject.is_selector:
        raise CheckSkippedError("no selector")
    if entry is None:
        raise CheckSkippedError("candidates are given by name to a registered selector only")
    made = subject.create()
    assert isinstance(made, SelectorStrategy)
    names = list(made.candidates)
    own = {key: value for key, value in subject.options.items() if "." not in key}
    for chosen in ([names[-1]], names[::-1]):
        strategy = create_strategy(entry.name, chosen, **own)
        assert isinstance(strategy, SelectorStrategy)
        if list(strategy.candidates) != chosen:
            raise CheckFailedError(f"the candidates {chosen}", f"{list(strategy.candidates)}", "keep those given")
        if chosen != names[::-1] or not subject.is_slow:
            subject.ask(subject.problem, strategy=strategy)


def _registered(subject: Subject) -> Entry:
    if subject.entry is None:
        raise CheckSkippedError("not registered: it has no card, and is not made by name")
    return subject.entry


def _list(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _quoted(names: Any) -> str:
    return ", ".join(f'"{name}"' for name in sorted(names))


def _spell(value: Any) -> str:
    return _list(value) if isinstance(value, frozenset) else str(value)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "none" if value is None else json.dumps(plain(value))
