"""Converts labels as a user writes them (names, integers) to class numbers and class names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from deepal_autoal.errors import InputError

_NEGATIVE = re.compile(r"-\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)

# Texts that missing labels turn into on their way through data frames, spreadsheets and numpy.
_MISSING = frozenset({"<na>", "#n/a", "n/a", "na", "nan", "nat", "null", "unlabeled", "unlabelled"})

_UNLABELED = frozenset(
    {
        "nolabel",
        "nolabels",
        "notlabeled",
        "notlabelled",
        "tolabel",
        "unannotated",
        "unclassified",
        "unknown",
        "unsorted",
    }
)


def is_missing(label: str) -> bool:
    """Return whether a written label stands for a missing one, such as ``nan``, ``None`` or ``NA``.

    ``none`` in lower case is a class, as "no finding" is; ``None`` is what Python writes for nothing.
    """
    return label.strip() == "None" or label.strip().casefold() in _MISSING


def is_unlabeled_folder(name: str) -> bool:
    """Return whether a folder's name says that its images have no labels, such as ``unlabelled`` or ``to-label``."""
    plain = re.sub(r"[\W_]+", "", name).casefold()
    return plain in _UNLABELED or plain.startswith(("unlabeled", "unlabelled")) or is_missing(name)


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct names sorted: numerically if all are integers (2 before 10), else as text."""
    distinct = set(names)
    if all(_is_integer(name) for name in distinct):
        # Digits without leading zeros compare as numbers by length first; int() refuses very long ones.
        return tuple(sorted(distinct, key=lambda name: (len(name.lstrip("0")), name.lstrip("0"), name)))
    return tuple(sorted(distinct))


def encode_names(
    train: Sequence[str], test: Sequence[str], source: str
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Turn class names into (train labels, test labels, class names); classes are those of ``train``.

    Raises:
        InputError: If ``test`` holds a class that ``train`` does not; the message begins with ``source``.
    """
    names = class_order(train)
    numbers = {name: number for number, name in enumerate(names)}
    unknown = sorted(set(test) - set(names))
    if unknown:
        raise InputError(_unknown_classes(source, unknown))
    y_train = np.fromiter((numbers[name] for name in train), np.int64, len(train))
    y_test = np.fromiter((numbers[name] for name in test), np.int64, len(test))
    return y_train, y_test, names


def encode_integers(train: np.ndarray, test: np.ndarray, source: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Turn integer arrays (N,) into (train labels, test labels, class names); the names are the sorted integers.

    Raises:
        InputError: If a label is negative, or occurs in ``test`` only; the message begins with ``source``.
    """
    for labels in (train, test):
        if labels.size and labels.min() < 0:
            row = int(np.flatnonzero(labels < 0)[0])
            raise InputError(
                f"{source}: label {labels[row]} in row {row} is negative; number classes from 0 (and leave out "
                "unlabeled samples)"
            )
    values, y_train = np.unique(train, return_inverse=True)
    unknown = np.setdiff1d(test, values)
    if unknown.size:
        raise InputError(_unknown_classes(source, [str(value) for value in unknown]))
    y_test = np.searchsorted(values, test)
    return y_train.astype(np.int64), y_test.astype(np.int64), tuple(str(value) for value in values)


def check_written_labels(labels: Sequence[str], source: str) -> None:
    """Reject labels in a text column that are not classes.

    Raises:
        InputError: If a label is empty, stands for a missing one, or is a negative integer, or all are numbers and
            some have fractions.
    """
    distinct = set(labels)
    blank = [label for label in distinct if not label.strip()]
    if blank:
        row = labels.index(blank[0]) + 1
        raise InputError(f"{source}: the label of sample {row} is empty; give every sample a label")
    missing = sorted(filter(is_missing, distinct))
    if missing:
        raise InputError(
            f"{source}: the label of sample {labels.index(missing[0]) + 1} is {missing[0]!r}, which stands for a "
            "missing one; leave out unlabeled samples, or rename the class"
        )
    negative = sorted(label for label in distinct if _NEGATIVE.fullmatch(label))
    if negative:
        raise InputError(f"{source}: label {negative[0]} is negative; number classes from 0, or give them names")
    fractions = sorted(label for label in distinct if not _is_integer(label))
    if fractions and all(_NUMBER.fullmatch(label) for label in distinct):
        raise InputError(f"{source}: label {fractions[0]} is not a class; labels must be integers or names")


def _is_integer(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _unknown_classes(source: str, unknown: Sequence[str]) -> str:
    shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
    return f"{source}: the test data contain classes without training samples ({shown}); add some or remove the classes"
