"""Values as JSON holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# No sensible report is deeper, nor counts higher; Python refuses to spell integers of 4,300 digits.
LONGEST_PATH = 1000
LARGEST_INTEGER = 10**1000


def plain(value: Any, strict: bool = True, path: str = "") -> Any:
    """Return a value in JSON's own types: arrays, tensors and tuples become lists, their scalars numbers.

    Args:
        value: Anything.
        strict: Whether what JSON cannot hold, NaN and infinity among them, is an error; else its text is returned.
        path: Where the value stands, for the error.

    Raises:
        ValueError: If it is, and JSON cannot hold the value.
    """
    if len(path) > LONGEST_PATH:
        raise ValueError(f"{path[:40]}...: it is nested too deeply")
    if hasattr(value, "tolist"):  # numpy's and torch's arrays and scalars
        value = value.tolist()
    if value is None or isinstance(value, bool | str) or (isinstance(value, int) and abs(value) < LARGEST_INTEGER):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item, strict, f"{path}.{key}" if path else str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, strict, f"{path}[{number}]") for number, item in enumerate(value)]
    if strict:
        raise ValueError(f"{path + ': ' if path else ''}{value!r} of type {type(value).__name__}")
    return repr(value)
