"""Checks of constructor options."""

from __future__ import annotations

from collections.abc import Sequence

from deepal_autoal import InputError


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise `InputError` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise InputError(f"option {name} is {value!r}; choose one of {', '.join(choices)}")


def check_at_least(name: str, value: float, minimum: float) -> None:
    """Raise `InputError` unless ``value`` is a finite number of at least ``minimum``."""
    if not minimum <= value < float("inf"):
        raise InputError(f"option {name} is {value}; it must be a finite number of at least {minimum}")


def check_positive(name: str, value: float) -> None:
    """Raise `InputError` unless ``value`` is a finite number above 0."""
    if not 0 < value < float("inf"):
        raise InputError(f"option {name} is {value}; it must be a finite number above 0")


def check_share(name: str, value: float) -> None:
    """Raise `InputError` unless ``value`` is at least 0 and below 1."""
    if not 0 <= value < 1:
        raise InputError(f"option {name} is {value}; it must be at least 0 and below 1")
