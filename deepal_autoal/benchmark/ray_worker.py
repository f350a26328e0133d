"""A run on a node of a Ray cluster: in a process of its own, in the shared folder or in a temporary one.

Ray calls `do_on_node` in a worker process of its own. That one trains nothing: it starts the same process that
``--jobs`` starts on one machine and passes on what it says, so that a run is the same wherever it is done.
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
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import filelock

from deepal_autoal.benchmark.job import Job
from deepal_autoal.benchmark.processes import WorkerProcess, thread_variables
from deepal_autoal.versions import versions

Message = dict[str, Any]

# Between two messages about a phase, and between looks at whether the node's Ray lives.
_SECONDS = 1.0
# How long a lock may be held by a process that has just died elsewhere. NFS 4 servers keep one for 90 s.
_SECONDS_OF_OTHERS = 10.0
_SECONDS_OF_THE_LOST = 120.0


@dataclass(frozen=True)
class Token:
    """Tells whether a folder is the same one on two machines.

    Attributes:
        path: A file in it, absolute.
        content: What it holds.
    """

    path: str
    content: str

    def is_here(self) -> bool:
        """Whether the file lies on this machine."""
        with suppress(OSError, ValueError):
            return Path(self.path).read_text() == self.content
        return False


@dataclass(frozen=True)
class Order:
    """All that a node needs to do a run.

    Attributes:
        job: The run, with absolute paths.
        token: Says whether the node shares the benchmark's folder.
        versions: Of distributions, as they must be.
        environment: Variables for the run's process.
        folder: Where the command runs; relative paths start there.
        level: Of what is logged.
        lock: Name of the lock in a run folder; the module that knows it imports torch.
        is_retry: Whether a process that did this run before was lost.
        files: A reference to what lies in the run folder, by path; None if nothing does.
        initial_model: A reference to the shared round 0's file; None if nobody has trained it.
    """

    job: Job
    token: Token
    versions: Mapping[str, str]
    environment: Mapping[str, str]
    folder: str
    level: int
    lock: str
    is_retry: bool = False
    files: Any = None
    initial_model: Any = None


def do_on_node(order: Order) -> Iterator[Message]:
    """Do or continue a run; yields a backend's messages, and three more.

    ``{"kind": "place", "node": ..., "is_shared": ...}`` comes first. Where nothing is shared, ``"files"`` and perhaps
    ``"initial_model"`` go with rounds and the end. ``{"kind": "lost", "reason": ...}`` instead of an end means that
    the run's process has died.
    """
    node, is_shared = socket.gethostname(), order.token.is_here()
    yield {"kind": "place", "node": node, "is_shared": is_shared}
    difference = _difference(order.versions)
    if difference is not None:
        yield {"kind": "end", "failure": f"{difference}; install the same on all nodes"}
    elif is_shared:
        _await_lock(Path(order.job.folder, order.lock), order.is_retry)
        yield from _follow(order, order.job)
    else:
        with tempfile.TemporaryDirectory(prefix="deepal-", ignore_cleanup_errors=True) as place:
            yield from _follow_apart(order, Path(place))


def _difference(expected: Mapping[str, str]) -> str | None:
    """Say what is not installed here as it must be."""
    here = versions()
    for name, wanted in expected.items():
        found = here.get(name)
        if found is None:
            with suppress(PackageNotFoundError):
                found = version(name)
        if found != wanted:
            return f"{name} is {found or 'not installed'} there and {wanted} here"
    return None


def _await_lock(lock: Path, is_retry: bool) -> None:
    """Wait while a process that is ending, or a node that was lost, has the run folder's lock.

    A lost node's lock may outlive it on network file systems. It then goes with its file; a process that held it after
    all would write the same rounds, each of them whole.
    """
    if not lock.exists():
        return
    try:
        with filelock.FileLock(lock, timeout=_SECONDS_OF_THE_LOST if is_retry else _SECONDS_OF_OTHERS):
            pass
    except filelock.Timeout:
        if is_retry:
            lock.unlink(missing_ok=True)
    except (OSError, NotImplementedError):
        pass  # the run itself says what is wrong with its folder


def _follow_apart(order: Order, place: Path) -> Iterator[Message]:
    """Do a run in a folder of this node's, and send its files along."""
    from deepal_autoal.benchmark import collected

    # Parts of the path are names in messages.
    folder = place.joinpath(*Path(order.job.folder).parts[-3:])
    if order.files is not None:
        collected.put(folder, _fetch(order.files))
    common = None
    if order.job.initial_model is not None:
        common = place / "round-0" / Path(order.job.initial_model).name
        common.parent.mkdir()
        if order.initial_model is not None:
            common.write_bytes(_fetch(order.initial_model))
    is_common_new = common is not None and not common.exists()
    changes = collected.Changes(folder)
    job = replace(order.job, folder=str(folder), initial_model=None if common is None else str(common))
    for message in _follow(order, job):
        if message["kind"] in ("round", "end"):
            message = {**message, "files": changes.take()}
            if is_common_new and common is not None and common.exists():
                message["initial_model"] = common.read_bytes()
                is_common_new = False
            if message["kind"] == "round" and collected.ROUNDS not in message["files"]:
                continue  # the run has finished meanwhile, and its end brings everything
        yield message


def _fetch(reference: Any) -> Any:
    import ray

    return ray.get(reference)


_Messages = queue.SimpleQueue[tuple[WorkerProcess, dict[str, Any] | None]]
# What Ray lets this process do later spares itself the start.
_spare: list[tuple[dict[str, str], str | None, WorkerProcess, _Messages]] = []


def _follow(order: Order, job: Job) -> Iterator[Message]:
    """Have a process do a job; yields what it says."""
    environment = {**os.environ, **order.environment, **thread_variables(job.settings.get("threads"))}
    folder = order.folder if os.path.isdir(order.folder) else None
    process, messages = _process(environment, folder)
    process.send(job, order.level)
    told_at, daemon = 0.0, os.getppid()
    while True:
        try:
            _, message = messages.get(timeout=_SECONDS)
        except queue.Empty:
            if process.is_alive:
                continue
            message = None  # a child of its own may keep the pipe open
        finally:
            if os.getppid() != daemon:  # the node's Ray has died, which leaves us alive: the run goes on elsewhere
                os._exit(1)
        if message is None:
            yield {"kind": "lost", "reason": process.reason()}
            return
        if message["kind"] == "phase":
            if time.monotonic() - told_at < _SECONDS:
                continue
            told_at = time.monotonic()
        if message["kind"] == "end":
            _spare.append((environment, folder, process, messages))
            yield message
            return
        yield message


def _process(environment: dict[str, str], folder: str | None) -> tuple[WorkerProcess, _Messages]:
    """Return the process that did the last run here, if it suits and lives, or a new one."""
    while _spare:
        *made_for, process, messages = _spare.pop()
        if made_for == [environment, folder] and process.is_alive:
            return process, messages
        process.process.terminate()
        process.end()
    messages = queue.SimpleQueue()
    return WorkerProcess(environment, messages, folder=folder), messages
