"""The errors this package raises on purpose: one base class; each message says what to do next."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class DeepALError(Exception):
    """Base of all errors a user can act on; the command line prints it as one line ``Error: ...``.

    Its message is one line, whatever is in the names of files and classes that it quotes.
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())


class InputError(DeepALError, ValueError):
    """Data or settings that cannot be used: wrong values, unreadable files, impossible budgets."""


# More characters of names than this are not all in a message.
_LONGEST_LIST = 1000
_MOST_COMPARED = 10_000


class UnknownNameError(InputError):
    """A name that is not registered.

    Args:
        kind: What was looked up, in the singular, such as ``"strategy"``.
        name: The requested name.
        known: The names that exist; the closest ones are suggested.
        hint: A sentence appended to the message.
        most_listed: If more names exist and none is close, three are shown and the others counted.
    """

    def __init__(
        self, kind: str, name: str, known: Iterable[str], hint: str = "", most_listed: int | None = None
    ) -> None:
        names = sorted(known)
        near = _nearest(name, names)
        known_names = ", ".join(names)
        if near:
            advice = "Did you mean " + " or ".join(repr(n) for n in near) + "?"
        elif len(known_names) > _LONGEST_LIST or len(names) > (most_listed or len(names)):
            advice = f"Known: {', '.join(names[:3])} and {len(names) - 3:,} others."
        elif names:
            advice = f"Known: {known_names}."
        else:
            advice = "None is registered."
        super().__init__(" ".join(part for part in (f"unknown {kind} {name!r}.", advice, hint) if part))


def _nearest(name: str, names: list[str]) -> list[str]:
    """Return at most three names that are about as close as the closest, in order; of equally close ones, the first."""
    same = [other for other in names if _compared(other) == _compared(name)]
    if same:
        return same[:3]
    if len(names) > _MOST_COMPARED:
        names = [other for other in names if other[:3] == name[:3]]
    # Among more names, such as those of a project's files, the comparison would take seconds.
    if not 0 < len(names) <= _MOST_COMPARED:
        return []
    found = difflib.get_close_matches(name, names, n=len(names), cutoff=0.5)
    ratios = {other: difflib.SequenceMatcher(None, other, name).ratio() for other in found}
    best = max(ratios.values(), default=0.0)
    close = (other for other in found if ratios[other] > best - 0.2)
    return sorted(close, key=lambda other: (-ratios[other], other))[:3]


def _compared(name: str) -> str:
    """Return a name in lower case, its numbers without leading zeros."""
    return re.sub("(?<![0-9])0+(?=[0-9])", "", name.casefold())


class PluginError(DeepALError):
    """A plugin that could not be loaded, or broke the contract; names its distribution."""


class PluginCodeError(PluginError):
    """A plugin's own code raised; the cause is chained."""


class QueryError(PluginError):
    """A strategy returned something that is not a batch of distinct unlabeled pool indices."""


class RunFolderError(DeepALError):
    """A run folder that cannot be written, is in use, or holds another run."""


def format_error(error: BaseException) -> str:
    """Return the type and message of any error in one printable line, whatever its ``str`` does."""
    return without_controls(f"{type(error).__name__}: {error_message(error)}".removesuffix(": "))


# C0, DEL and C1 without tab and line feed; and the controls of writing direction, which can show text in another order;
# halves of characters, which no encoding has: what Python makes of the other bytes in a file's name; and the two that
# XML forbids besides.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def without_controls(text: str) -> str:
    """Return text with replacement characters for what would control a terminal or a browser, or is no text in XML."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def printable_line(text: str) -> str:
    """Return text as one line, `without_controls`: line breaks and other spaces become plain ones."""
    return without_controls(re.sub(r"\s", " ", text))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 sample`` and ``2 samples``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def error_message(error: BaseException) -> str:
    """Return the message of any error in one line, whatever its ``str`` does."""
    try:
        return " ".join(str(error).split())
    except Exception:
        return "(its message cannot be read)"


def is_interrupt(error: BaseException) -> bool:
    """Return whether an error comes from the user, not from the running code; ``sys.exit()`` comes from code."""
    return isinstance(error, KeyboardInterrupt)
