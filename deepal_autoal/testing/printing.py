"""Keep what a strategy prints out of the report, and count it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

from deepal_autoal.errors import without_controls

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_MOST_BYTES = 400
_MOST_CHARACTERS = 80


class Printing:
    """Counts the lines that Python code prints to standard output and standard error.

    Attributes:
        n_lines: How many lines were printed so far.
    """

    def __init__(self) -> None:
        self._counter = _Counter()
        # Unlike StringIO, it has the buffer that some code writes bytes to.
        self._stream = io.TextIOWrapper(
            io.BufferedWriter(self._counter), encoding="utf-8", errors="backslashreplace", write_through=True
        )

    @property
    def n_lines(self) -> int:
        """How many lines were printed so far."""
        return self._counter.n_lines + self._counter.is_inside_line

    @property
    def first_line(self) -> str:
        """The first line that is not blank, perhaps shortened; empty if there is none."""
        text = self._counter.first.decode("utf-8", "replace")
        line = next((line.strip() for line in text.splitlines() if line.strip()), "")
        short = line if len(line) <= _MOST_CHARACTERS else line[: _MOST_CHARACTERS - 3] + "..."
        return without_controls(short)

    @contextmanager
    def captured(self) -> Iterator[None]:
        """Count what the block prints, instead of showing it."""
        with redirect_stdout(self._stream), redirect_stderr(self._stream):
            try:
                yield
            finally:
                if not self._stream.closed:
                    self._stream.flush()


class _Counter(io.RawIOBase):
    """Keeps the first bytes, and counts lines."""

    def __init__(self) -> None:
        self.first = b""
        self.n_lines = 0
        self.is_inside_line = False

    def writable(self) -> bool:
        return True

    def write(self, content: ReadableBuffer, /) -> int:
        written = bytes(content)
        if written:
            self.first += written[: _MOST_BYTES - len(self.first)]
            self.n_lines += written.count(b"\n")
            self.is_inside_line = not written.endswith(b"\n")
        return len(written)
