"""Attributes errors to the plugin whose code raised them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deepal_autoal.errors import DeepALError, InputError, QueryError, error_message, format_error, is_interrupt

BUILTIN_DISTRIBUTION = "deepal_autoal"
_PACKAGE = Path(__file__).parent.parent  # not resolved, as the names of code objects are not


@dataclass(frozen=True)
class Provider:
    """The distribution that provides an entry."""

    distribution: str
    version: str

    @property
    def builtin(self) -> bool:
        """Whether this is our own distribution, whose names no other can take."""
        return normalize(self.distribution) == normalize(BUILTIN_DISTRIBUTION)

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".strip()


def normalize(distribution: str) -> str:
    """Return a distribution's name in the packaging specification's normal form."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _is_raised_here(error: BaseException) -> bool:
    """Return whether this package's code, not a plugin's, raised an error."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and _PACKAGE in Path(frame.tb_frame.f_code.co_filename).parents


@contextmanager
def blaming(culprit: object, doing: str = "query", own_errors: bool = False) -> Iterator[None]:
    """Turn an error raised inside the block into one that names the culprit, with the cause chained.

    Args:
        culprit: The plugin or object whose code runs.
        doing: What it does.
        own_errors: Whether a `DeepALError`, which says what to do, keeps its kind; a third party's name is prefixed.
    """
    try:
        yield
    except DeepALError as error:
        # Our own errors already name their culprit, but a plugin may raise the class too.
        if isinstance(error, QueryError) and _is_raised_here(error):
            raise
        if own_errors:
            if f"of {BUILTIN_DISTRIBUTION} " in str(culprit):
                raise
            kind = InputError if isinstance(error, InputError) else DeepALError
            raise kind(f"{culprit}: {error_message(error)}") from None
        raise QueryError(f"{culprit} failed in {doing}: {error_message(error)}") from None
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise QueryError(f"{culprit} failed in {doing}: {format_error(error)}") from error
