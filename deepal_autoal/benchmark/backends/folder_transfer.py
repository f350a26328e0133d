"""Transfer a run folder's files as bytes, where the machine that writes them shares no folder with the benchmark.

There, a `RunFolderChanges` finds what is new after each round; here, a `RunFolderCopy` writes it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from deepal_autoal.errors import RunFolderError
from deepal_autoal.experiment.run_files import ROUNDS, SUMMARY
from deepal_autoal.files import LOCK, TEMPORARY_SUFFIX, read_bytes, remove_file, remove_leftovers, write_bytes

# Contents by path inside the run folder.
Files = dict[str, bytes]
_STATE = "state-{:05d}.pt"
_STATES = "state-*.pt"
# More than the moment between the removal of one state and the record of the next round.
_SECONDS_TO_SAVE = 10.0


class RunFolderChanges:
    """The changes in a run folder from one call to the next, while the run continues.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, tuple[int, int]] = {}

    def take(self) -> Files:
        """Return the files that are new or changed since the last call, by path inside the folder.

        The rounds are always among them, if there are any; they match the state saved after them.
        """
        pair = self._rounds_and_state()
        found: Files = {}
        for path in sorted(self._folder.rglob("*")):
            name = path.relative_to(self._folder).as_posix()
            if name in (LOCK, ROUNDS) or path.match(_STATES) or path.name.endswith(TEMPORARY_SUFFIX):
                continue
            try:
                if path.is_file() and self._is_new(name, path):
                    found[name] = path.read_bytes()
            except FileNotFoundError:  # just replaced: the next call returns it
                continue
        return {**found, **pair}

    def _rounds_and_state(self) -> Files:
        deadline = time.monotonic() + _SECONDS_TO_SAVE
        while (self._folder / ROUNDS).exists():
            rounds = (self._folder / ROUNDS).read_bytes()
            number = rounds.count(b"\n") - 1
            state = self._folder / _STATE.format(number)
            # Kept after the last round, for a run that is extended.
            before = self._folder / _STATE.format(number - 1)
            kept = {}
            with suppress(FileNotFoundError):
                kept = {before.name: before.read_bytes()}
            try:
                return {**kept, state.name: state.read_bytes(), ROUNDS: rounds}
            except FileNotFoundError:  # the run is one round further, or finished
                if (self._folder / SUMMARY).exists():
                    return {**kept, ROUNDS: rounds}
                if time.monotonic() > deadline:
                    raise RunFolderError(
                        f"{self._folder} is damaged: it lacks {state.name}, the state after its last round; remove it"
                    ) from None
                time.sleep(0.01)
        return {}

    def _is_new(self, name: str, path: Path) -> bool:
        status = path.stat()
        before, self._seen[name] = self._seen.get(name), (status.st_mtime_ns, status.st_size)
        return before != self._seen[name]


def read_run_folder(folder: Path) -> Files:
    """Return all files of a run folder by path inside it; the folder may not exist."""
    return RunFolderChanges(folder).take() if folder.exists() else {}


def write_run_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a run folder, each atomically, in the order in which a run writes them.

    Whenever this process dies, the rounds match the state saved after them; the summary is written last.

    Args:
        folder: The run folder; created if it does not exist.
        files: Contents by path inside the folder.

    Raises:
        RunFolderError: If they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_finished = (folder / SUMMARY).exists() and (folder / ROUNDS).exists()
    if is_finished and SUMMARY not in files and files.get(ROUNDS, b"") != read_bytes(folder / ROUNDS):
        remove_file(folder / SUMMARY)  # the run is extended
    last = [ROUNDS, SUMMARY]
    for name in [*(name for name in files if name not in last), *(name for name in last if name in files)]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, files[name])
    if ROUNDS in files:
        remove_leftovers(path for path in folder.glob(_STATES) if path.name not in files)


class RunFolderCopy:
    """A run folder that this process writes for another machine; it is locked until `close`.

    Args:
        folder: The run folder; created if it does not exist.

    Raises:
        RunFolderError: If it cannot be written, or another process uses it.
    """

    def __init__(self, folder: Path) -> None:
        from deepal_autoal.experiment.records import RunFolder  # imports torch, which the other machine need not

        self._folder = folder
        self._held = RunFolder(folder, resume=True)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files that `RunFolderChanges` returned (see `write_run_folder`)."""
        write_run_folder(self._folder, files)

    def close(self) -> None:
        """Unlock the run folder."""
        self._held.close()
