"""The journal of a labeling project: everything that was given or asked for, an event a line, only ever appended.

It is the one source of truth; all else in the folder is derived from it, or settings that never change. Each line
holds a checksum of its event and of the line before, so a changed, lost or repeated line is noticed. A line that a
kill or a full disk cut off is the last one and has no line break: the event has not happened, and the next one
replaces it.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from deepal_autoal.errors import RunFolderError
from deepal_autoal.files import CHECKSUM, checksum_of_value, parse_json, read_bytes

_START = "journal 1"

logger = logging.getLogger(__name__)


class Journal:
    """The events of a project.

    Args:
        path: The file; a missing one has no events.

    Attributes:
        events: In order; each has ``event``, its kind, and ``at``, when, UTC.

    Raises:
        RunFolderError: If it cannot be read, or was changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[dict[str, Any]] = []
        self._last = _START
        self._size = 0
        if os.path.lexists(path):
            self._read()

    def append(self, event: str, /, **content: Any) -> None:
        """Add an event; when this returns it is on the disk, and if it raises nothing has changed.

        Raises:
            RunFolderError: If it cannot be written.
        """
        record = {"event": event, "at": datetime.now(timezone.utc).isoformat(timespec="seconds"), **content}
        checksum = checksum_of_value([self._last, record])
        line = json.dumps({**record, CHECKSUM: checksum}, allow_nan=False).encode() + b"\n"
        try:
            self._write(line)
        except OSError as error:
            raise RunFolderError(
                f"cannot write {self.path}: {error.strerror or error}; nothing was taken, what is in it is kept"
            ) from error
        self.events.append(record)
        self._last, self._size = checksum, self._size + len(line)

    def _write(self, line: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            os.ftruncate(descriptor, self._size)
            os.lseek(descriptor, self._size, os.SEEK_SET)
            try:
                written = 0
                while written < len(line):
                    written += os.write(descriptor, line[written:])
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, self._size)
                raise
        finally:
            os.close(descriptor)

    def _read(self) -> None:
        # Not `splitlines`: where a byte was damaged into another line break, all that follows would seem cut off.
        *lines, rest = read_bytes(self.path).split(b"\n")
        for number, line in enumerate(lines, 1):
            where = f"line {number} of {self.path}"
            record = parse_json(line, where)
            checksum = record.pop(CHECKSUM, None) if isinstance(record, dict) else None
            if checksum is None or checksum != checksum_of_value([self._last, record]):
                raise RunFolderError(
                    f"{where} is damaged or was edited: it does not match its checksum; put back a copy of the file"
                )
            self.events.append(record)
            self._last, self._size = checksum, self._size + len(line) + 1
        if rest:
            logger.warning(
                "%s: its last line was cut off while it was written, and does not count: repeat the last command",
                self.path,
            )
