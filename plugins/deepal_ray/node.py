"""A run on a node of a Ray cluster: in its own process, in the shared folder or in a temporary one.

Ray calls `do_on_node` in one of its worker processes. That process trains nothing: it starts the same process that
``--jobs`` starts on one machine and forwards its messages, so a run is the same on every backend.
"""

from __future__ import annotations

import os
import queue
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import filelock

from deepal_autoal.benchmark import (
    Job,
    Message,
    Messages,
    RunFolderChanges,
    WorkerProcess,
    version_difference,
    write_run_folder,
)

# Between two messages of a phase, and between two checks that the node's Ray daemon is alive.
_SECONDS = 1.0
# How long to wait for the lock of a process that ended or was lost. NFS 4 servers keep locks for 90 s.
_LOCK_SECONDS = 10.0
_LOST_LOCK_SECONDS = 120.0


@dataclass(frozen=True)
class Token:
    """Detects whether two machines share a folder.

    Attributes:
        path: The absolute path of a file in it.
        content: The file's content.
    """

    path: str
    content: str

    def is_here(self) -> bool:
        """Return whether this machine can read the file."""
        with suppress(OSError, ValueError):
            return Path(self.path).read_text() == self.content
        return False


@dataclass(frozen=True)
class Order:
    """All that a node needs to execute a run.

    Attributes:
        job: The run, with absolute paths.
        token: Detects whether the node shares the benchmark's folder.
        versions: The required versions by distribution.
        environment: Environment variables for the run's process.
        folder: The command's working directory; relative paths start there.
        gpu_share: The part of a GPU that the run may use, from 0 to 1.
        is_retry: Whether an earlier process of this run was lost.
        files: A reference to the run folder's files, by path; None if there are none.
        initial_model: A reference to the shared round 0's file; None if it is not trained yet.
    """

    job: Job
    token: Token
    versions: Mapping[str, str]
    environment: Mapping[str, str]
    folder: str
    gpu_share: float = 1.0
    is_retry: bool = False
    files: Any = None
    initial_model: Any = None


def do_on_node(order: Order) -> Iterator[Message]:
    """Execute or continue a run; yield a backend's messages, and three more.

    ``{"kind": "place", "node": ..., "is_shared": ...}`` comes first. If the folder is not shared, messages of
    rounds and the end hold ``"files"`` and perhaps ``"initial_model"``. ``{"kind": "lost", "reason": ...}`` instead of
    an end means that the run's process has died.
    """
    node, is_shared = socket.gethostname(), order.token.is_here()
    yield {"kind": "place", "node": node, "is_shared": is_shared}
    difference = version_difference(order.versions)
    if difference is not None:
        yield {"kind": "end", "failure": f"{difference}; install the same on all nodes"}
    elif is_shared:
        _await_lock(order.job.lock, order.is_retry)
        yield from _follow(order, order.job)
    else:
        with tempfile.TemporaryDirectory(prefix="deepal-", ignore_cleanup_errors=True) as place:
            yield from _follow_apart(order, Path(place))


def _await_lock(lock: Path, is_retry: bool) -> None:
    """Wait while a process that is ending, or a lost node, holds the run folder's lock.

    A lost node's lock may outlive it on network file systems; its file is then removed. Should its process still be
    alive, it would write the same rounds, each file atomically.
    """
    if not lock.exists():
        return
    try:
        with filelock.FileLock(lock, timeout=_LOST_LOCK_SECONDS if is_retry else _LOCK_SECONDS):
            pass
    except filelock.Timeout:
        if is_retry:
            lock.unlink(missing_ok=True)
    except (OSError, NotImplementedError):
        pass  # the run itself reports the problem with its folder


def _follow_apart(order: Order, place: Path) -> Iterator[Message]:
    """Execute a run in a folder on this node, and send its files with the messages."""
    # Messages quote the last parts of the path.
    folder = place.joinpath(*Path(order.job.folder).parts[-3:])
    if order.files is not None:
        write_run_folder(folder, _fetch(order.files))
    common = None
    if order.job.initial_model is not None:
        common = place / "round-0" / Path(order.job.initial_model).name
        common.parent.mkdir()
        if order.initial_model is not None:
            common.write_bytes(_fetch(order.initial_model))
    is_common_new = common is not None and not common.exists()
    changes = RunFolderChanges(folder)
    job = replace(order.job, folder=str(folder), initial_model=None if common is None else str(common))
    for message in _follow(order, job):
        if message["kind"] in ("round", "end"):
            message = {**message, "files": changes.take()}
            if is_common_new and common is not None and common.exists():
                message["initial_model"] = common.read_bytes()
                is_common_new = False
        yield message


def _fetch(reference: Any) -> Any:
    import ray

    return ray.get(reference)


# Kept for later runs in this process, which saves them the start: threads, environment, folder and share of each.
_spare: list[tuple[tuple[int, Mapping[str, str], str | None, float], WorkerProcess, Messages]] = []


def _follow(order: Order, job: Job) -> Iterator[Message]:
    """Let a process execute a job; yield its messages."""
    folder = order.folder if os.path.isdir(order.folder) else None
    setup = (job.settings["threads"], order.environment, folder, order.gpu_share)
    process, messages = _process(*setup)
    process.send(job)
    reported_at, daemon = 0.0, os.getppid()
    while True:
        try:
            _, message = messages.get(timeout=_SECONDS)
        except queue.Empty:
            if process.is_alive:
                continue
            message = None  # a child of it may keep the pipe open
        finally:
            if os.getppid() != daemon:  # the node's Ray daemon has died: the run continues elsewhere
                os._exit(1)
        if message is None:
            yield {"kind": "lost", "reason": process.reason()}
            return
        if message["kind"] == "phase":
            if time.monotonic() - reported_at < _SECONDS:
                continue
            reported_at = time.monotonic()
        if message["kind"] == "end":
            if message.get("is_unusable"):
                process.end()
            else:
                _spare.append((setup, process, messages))
            yield message
            return
        yield message


def _process(
    threads: int, environment: Mapping[str, str], folder: str | None, gpu_share: float
) -> tuple[WorkerProcess, Messages]:
    """Return the process of the last run here, if it fits and is alive, or a new one."""
    while _spare:
        setup, process, messages = _spare.pop()
        if setup == (threads, environment, folder, gpu_share) and process.is_alive:
            return process, messages
        process.process.terminate()
        process.end()
    messages = queue.SimpleQueue()
    return WorkerProcess(messages, threads, environment, folder, gpu_share=gpu_share), messages
