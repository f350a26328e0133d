"""Conversion of values to JSON types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# No sensible report nests deeper or counts higher; Python refuses to print integers of more than 4,300 digits.
LONGEST_PATH = 1000
DEEPEST = 200
LARGEST_INTEGER = 10**1000


def check_depth(value: Any) -> None:
    """Check that parsed JSON is not nested so deeply that later steps, which recurse, would fail.

    Raises:
        ValueError: If it is.
    """
    level, depth = [value], 0
    while level:
        if depth > DEEPEST + 10:  # a report is a part of a record
            raise ValueError("it is nested too deeply")
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
        depth += 1


def to_jsonable(value: Any, strict: bool = True, path: str = "", depth: int = 0) -> Any:
    """Convert a value to JSON types: arrays, tensors and tuples become lists, their scalars numbers.

    Args:
        value: Anything.
        strict: Whether values JSON cannot hold, including NaN and infinity, are an error; else their text is returned.
        path: Where the value is, for the error message.
        depth: How many lists and dicts it is in.

    Raises:
        ValueError: If the value is nested too deeply, or if `strict` and JSON cannot hold it.
    """
    if len(path) > LONGEST_PATH or depth > DEEPEST:
        raise ValueError(f"{path[:40]}...: it is nested too deeply")
    if hasattr(value, "tolist"):  # numpy's and torch's arrays and scalars
        value = value.tolist()
    if value is None or isinstance(value, bool | str) or (isinstance(value, int) and abs(value) < LARGEST_INTEGER):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Mapping):
        return {
            str(key): to_jsonable(item, strict, f"{path}.{key}" if path else str(key), depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [to_jsonable(item, strict, f"{path}[{number}]", depth + 1) for number, item in enumerate(value)]
    if strict:
        raise ValueError(f"{path + ': ' if path else ''}{value!r} of type {type(value).__name__}")
    return repr(value)
