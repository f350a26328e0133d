"""Turn an error from a strategy's code into a failure that shows where it was raised."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from deepal_autoal.errors import DeepALError, error_message
from deepal_autoal.testing.report import CheckFailedError, CheckSkippedError

_MOST_CHARACTERS = 300


def place(error: BaseException, home: str | None = None) -> str:
    """Return where an error was raised: ``file:line in function: source``; empty if it was never raised.

    Args:
        error: The error; its causes are followed to the first one.
        home: The strategy's file; its innermost frame is shown rather than one inside torch.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    frame = next((frame for frame in reversed(frames) if frame.filename == home), frames[-1])
    return f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}"


def format_failure(error: BaseException, home: str | None = None) -> str:
    """Return an error's type, message (shortened if very long) and place in one line."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    text = error_message(root)
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[:_MOST_CHARACTERS]}..."
    # Our own errors say what is wrong, and were raised by the check that found it.
    if isinstance(root, DeepALError) and not (home and home in place(root, home)):
        return f"{type(root).__name__}: {text}"
    return f"{type(root).__name__}: {text} (at {place(root, home)})"


@contextmanager
def failing(expected: str, do: str, home: str | None = None) -> Iterator[None]:
    """Turn any error inside the block into a failure of the check."""
    try:
        yield
    except (CheckFailedError, CheckSkippedError):
        raise
    except Exception as error:
        raise CheckFailedError(expected, format_failure(error, home), do) from error
