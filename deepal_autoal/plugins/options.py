"""Options of strategies and models: checked against the signature, converted from the command line's text."""

from __future__ import annotations

import inspect
import json
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union

from deepal_autoal.errors import InputError, UnknownNameError

_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def constructor_options(cls: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the options of a strategy class: its constructor's parameters except ``candidates``."""
    return {
        name: parameter
        for name, parameter in inspect.signature(cls).parameters.items()
        if name != "candidates" and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def call_options(function: Callable[..., Any], n_arguments: int) -> dict[str, inspect.Parameter]:
    """Return the options of a function: parameters with a name and a default that follow the engine's arguments.

    Args:
        function: The function.
        n_arguments: How many positional arguments the engine passes.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C
        return {}
    positional = [item.name for item in parameters if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    return {
        parameter.name: parameter
        for parameter in parameters
        if parameter.name not in positional[:n_arguments]
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and parameter.default is not parameter.empty
    }


def resolve_options(name: str, cls: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a strategy with their values.

    Args:
        name: The strategy's name, for messages.
        cls: Its class.
        given: Options by name; text is converted to the annotated type or, without an annotation, the default's type.

    Raises:
        UnknownNameError: If there is no such option.
        InputError: If a value does not fit, or an option without a default is missing.
    """
    return fill_options("strategy", name, cls, constructor_options(cls), given)


def fill_options(
    kind: str,
    name: str,
    target: Callable[..., Any],
    parameters: Mapping[str, inspect.Parameter],
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Return all options with their values (see `resolve_options`).

    Args:
        kind: What has the options, such as ``"model"``, for messages.
        name: Its name, also for messages.
        target: The class or function whose annotations give the options' types.
        parameters: The options.
        given: As in `resolve_options`.
    """
    annotated = target.__init__ if inspect.isclass(target) else target
    try:
        annotations = typing.get_type_hints(annotated)
    except Exception:  # An annotation that exists for type checkers only; then the form of the text decides.
        annotations = {}
    options = {}
    for key in given:
        if not parameters:
            raise InputError(f"{kind} {name!r} takes no options, but {key!r} was given")
        if key not in parameters:
            raise UnknownNameError(f"option of {kind} {name!r}:", key, parameters)
    for key, parameter in parameters.items():
        if key in given:
            annotation = annotations.get(key, _type_of(parameter.default))
            options[key] = convert(f"{name}.{key}", given[key], annotation)
        elif parameter.default is parameter.empty:
            raise InputError(f"{kind} {name!r} needs the option {key!r}: add -o {key}=VALUE")
        else:
            options[key] = parameter.default
    return options


def _type_of(default: Any) -> Any:
    """Return the type of an option without annotation, by its default."""
    if isinstance(default, bool | str):
        return type(default)
    # A default of 1 may well mean 1.0.
    return int | float if isinstance(default, int | float) else Any


def convert(name: str, value: Any, annotation: Any) -> Any:
    """Return a value of the annotated type; text is parsed, anything else is checked.

    Raises:
        InputError: If the value does not fit.
    """
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()  # a numpy or torch scalar
    for kind in _alternatives(annotation):
        fitted, result = _fit(value, kind)
        if fitted:
            return result
    finite = "" if _is_finite(value) else "a finite number and "
    raise InputError(f"option {name}: {value!r} is not {finite}{_describe_type(annotation)}")


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (Union, types.UnionType):
        # None first, so the text "none" is never taken as a string.
        return tuple(sorted(typing.get_args(annotation), key=lambda kind: kind is not type(None)))
    return (annotation,)


def _fit(value: Any, kind: Any) -> tuple[bool, Any]:
    text = value.strip() if isinstance(value, str) else None
    if kind is type(None):
        return (value is None or (text is not None and text.lower() == "none")), None
    if typing.get_origin(kind) is Literal:
        return _fit_literal(value, typing.get_args(kind))
    if kind is bool:
        if text is not None:
            return text.lower() in _BOOLEANS, _BOOLEANS.get(text.lower())
        return isinstance(value, bool), value
    if kind in (int, float):
        return _fit_number(value if text is None else text, kind)
    if kind is str:
        return isinstance(value, str), value
    if text is not None:
        try:
            return True, json.loads(text)
        except ValueError:
            return True, text
        except RecursionError:
            raise InputError(f"an option's value is nested too deeply: {text[:20]}...") from None
    return True, value


def describe_options(target: Any) -> dict[str, str]:
    """Return what the docstring of a class, its bases or its constructor says on each argument, by name, in one line.

    Docstrings are in Google's style; an argument without a description is missing.
    """
    found: dict[str, str] = {}
    for owner in reversed(getattr(target, "__mro__", (target,))):
        for text in (owner.__doc__, vars(owner).get("__init__", owner).__doc__):
            found |= _described_arguments(inspect.cleandoc(text or ""))
    return found


def _described_arguments(text: str) -> dict[str, str]:
    _, _, section = f"\n{text}".partition("\nArgs:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line and not line.startswith("    "):
            break  # the next section
        head = re.match(r"    (\w[\w, ]*?)(?: \([^)]*\))?: +(.*)", line)
        if head is not None:
            names = head[1].split(", ")
            found |= dict.fromkeys(names, head[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return {name: description.replace("`", "") for name, description in found.items()}


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return True


def _fit_literal(value: Any, choices: tuple[Any, ...]) -> tuple[bool, Any]:
    for choice in choices:
        if (type(value) is type(choice) and value == choice) or (isinstance(value, str) and value == str(choice)):
            return True, choice
    return False, None


def _fit_number(value: Any, kind: type) -> tuple[bool, Any]:
    if isinstance(value, bool):
        return False, None
    try:
        number = kind(value)
    except (TypeError, ValueError, OverflowError):
        return False, None
    if (kind is int and not isinstance(value, str) and number != value) or not math.isfinite(number):
        return False, None
    return True, number


def _describe_type(annotation: Any) -> str:
    kinds = []
    alternatives = [kind for kind in _alternatives(annotation) if kind is not type(None)] or [type(None)]
    for kind in alternatives:
        if typing.get_origin(kind) is Literal:
            kinds += [str(choice) for choice in typing.get_args(kind)]
        elif kind is bool and len(alternatives) > 1:
            kinds += ["true", "false"]
        else:
            kinds.append("none" if kind is type(None) else getattr(kind, "__name__", str(kind)))
    return "one of " + ", ".join(kinds) if len(kinds) > 1 else f"of type {kinds[0]}"
