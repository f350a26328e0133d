"""Standard streams that a daemon, a scheduler, a full disk or a closed terminal took away: no reason to lose a run."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from deepal_autoal.errors import DeepALError

_NAMES = ("stdin", "stdout", "stderr")
_UNENCODABLE = "deepal_output"


class OutputError(DeepALError):
    """Standard output cannot be written."""


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Run a command with streams that can be written to, whatever they lead to.

    Closed ones lead nowhere. What a stream's encoding lacks is written as ``?``. What cannot be written to standard
    error, which shows progress, is dropped.

    Raises:
        OutputError: At the end, if standard output, which shows results, could not be written.
    """
    _open_closed_ones()
    codecs.register_error(_UNENCODABLE, _replace_unencodable)
    out, err = _Stream(sys.stdout), _Stream(sys.stderr)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield
    finally:
        for stream in (out, err):
            stream.end()
    if out.failure is not None:
        raise OutputError(f"cannot write to standard output: {out.failure.strerror}")


class _Stream:
    """A text stream that notes a failure to write instead of raising it, except that nobody reads a pipe."""

    def __init__(self, stream: TextIO) -> None:
        self.failure: OSError | None = None
        self._stream = stream
        self._before = {name: getattr(stream, name, None) for name in ("encoding", "errors")}
        # ASCII means that no one chose an encoding. There click would write UTF-8 too, but break file names.
        is_ascii = codecs.lookup(self._before["encoding"] or "utf-8").name == "ascii"
        self._configure("utf-8" if is_ascii else None, _UNENCODABLE)

    def write(self, text: str) -> int:
        """Write a text."""
        if self.failure is None:
            with self._noting():
                return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand what was written to the system."""
        if self.failure is None:
            with self._noting():
                self._stream.flush()

    def end(self) -> None:
        """Put the stream back; if it failed, the interpreter's own flush at its end leads nowhere."""
        self._configure(**self._before)
        if self.failure is not None and self._stream in (sys.__stdout__, sys.__stderr__):
            with open(os.devnull, "wb") as nowhere, contextlib.suppress(OSError, ValueError):
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def _configure(self, encoding: str | None, errors: str | None) -> None:
        if hasattr(self._stream, "reconfigure"):
            with contextlib.suppress(OSError):
                self._stream.reconfigure(encoding=encoding, errors=errors)

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = error
            if error.errno == errno.EPIPE and self._stream is sys.__stdout__:
                raise  # as in `deepal strategies | head`: click ends the command

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _open_closed_ones() -> None:
    for number in range(len(_NAMES)):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one: the next file that is opened must not get it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name in _NAMES:
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def _replace_unencodable(error: UnicodeError) -> tuple[bytes, int]:
    """Return the bytes of a file name that were no text, and ``?`` for other characters."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    written = bytearray()
    for character in error.object[error.start : error.end]:
        is_byte = 0xDC80 <= ord(character) <= 0xDCFF
        written.append(ord(character) - 0xDC00 if is_byte else ord("?"))
    return bytes(written), error.end
