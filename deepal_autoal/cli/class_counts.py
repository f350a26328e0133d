"""Classes and their numbers of samples in one line, so that a class that is none is seen at the start."""

from __future__ import annotations

from collections.abc import Iterable

from deepal_autoal.errors import printable_line

_MOST_CLASSES = 12
_CLASSES_SHOWN = 10
_LONGEST_NAME = 24


def format_classes(counts: Iterable[tuple[str, int]]) -> str:
    """Return the number of classes, and each with its training samples; of many, the first ones.

    Args:
        counts: Names and numbers of samples, in the order of the labels.
    """
    pairs = list(counts)
    shown = pairs if len(pairs) <= _MOST_CLASSES else pairs[:_CLASSES_SHOWN]
    line = ", ".join(f"{_short(name)} {count:,}" for name, count in shown)
    rest = [count for _, count in pairs[len(shown) :]]
    if rest:
        line += f", and {len(rest):,} more of {min(rest):,} to {max(rest):,}"
    return f"{len(pairs):,} classes ({line})"


def _short(name: str) -> str:
    line = printable_line(name)
    return line if len(line) <= _LONGEST_NAME else line[: _LONGEST_NAME - 1] + "…"
