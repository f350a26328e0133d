"""Strategies as they are written, ``name[key=value,...]``. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepal_autoal.errors import InputError
from deepal_autoal.plugins.notation import Notation
from deepal_autoal.plugins.references import is_reference

CANDIDATES = "candidates"
_NOTATION = Notation("strategy", "write it as NAME or NAME[KEY=VALUE,...]")


def read_strategy(written: str, candidates: Any, options: Mapping[str, Any]) -> tuple[str, Any, dict[str, Any]]:
    """Return a strategy's name, candidates and options, of which some may stand in brackets after the name.

    Args:
        written: For example ``margin``, or ``vote[power=2,candidates=[entropy,margin]]``.
        candidates: Those given beside it; None if none are.
        options: Those given beside it.

    Raises:
        InputError: If the brackets cannot be read, or something is given twice.
    """
    name, own = _split(written)
    named = own.pop(CANDIDATES, None)
    twice = sorted(own.keys() & options.keys())
    if twice:
        raise InputError(f"strategy {name!r}: option {twice[0]} is given twice")
    if named is not None:
        if candidates is not None:
            raise InputError(f"strategy {name!r}: {CANDIDATES} are given twice")
        candidates = list(read_candidate_names(_NOTATION, written, named))
    return name, candidates, {**own, **options}


def read_candidate_names(notation: Notation, item: str, written: str) -> tuple[str, ...]:
    """Return the names in ``[a,b]``, or a single name without brackets.

    Args:
        notation: That of the setting, for errors.
        item: The whole text, for errors.
        written: The candidates' part of it.

    Raises:
        InputError: If there is none, or a bracket is unmatched.
    """
    names = tuple(notation.split(written[1:-1] if written.startswith("[") and written.endswith("]") else written))
    if not names:
        raise notation.error(item, f"name candidates, such as {CANDIDATES}=[entropy,margin]")
    return names


def _split(written: str) -> tuple[str, dict[str, str]]:
    """Return the name and the options in the brackets after it; a file's path may have brackets of its own."""
    written = written.strip()
    if is_reference(written):
        return written, {}
    start, depth = len(written), 0
    while start and (start == len(written) or depth):
        start -= 1
        depth += {"]": 1, "[": -1}.get(written[start], 0)
    if written.endswith("]") and not depth and is_reference(written[:start]):
        return written[:start].strip(), _NOTATION.read("_" + written[start:])[1]
    return _NOTATION.read(written)
