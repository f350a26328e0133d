"""Execute runs on the nodes of a Ray cluster. Runs of a lost node are started again from their last finished round."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepal_autoal import InputError, RunFolderError, format_error
from deepal_autoal.benchmark import (
    Job,
    Message,
    OnMessage,
    RunFolderCopy,
    Workload,
    read_run_folder,
    required_versions,
    with_absolute_paths,
)
from deepal_ray.node import Order, Token, do_on_node

if TYPE_CHECKING:
    from deepal_ray.backend import RayBackend

# How often a run is started again after its node or its process was lost.
RETRIES = 3

_FORWARDED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "DEEPAL_DISABLE_PLUGINS")
# Read when ray is imported. Ray's own output would garble the progress bar; results of runs are reported anyway.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
          "RAY_SCHEDULER_EVENTS": "0"}  # fmt: skip
# Of our own cluster: only files in transfer pass through it.
_OBJECT_STORE_BYTES = 256 * 2**20
_SECONDS_BETWEEN_COUNTS = 2.0
# Until a file written by a node becomes visible on a network file system.
_SECONDS_TO_APPEAR = 60.0
# Of a run folder: it marks the run as complete.
_LAST_FILE = "summary.json"


class RayCluster:
    """Executes jobs on the nodes of a Ray cluster.

    Args:
        options: The cluster, and what a run uses of it.
        workload: The runs. Nodes look for a file in the benchmark's folder to find out whether they share it.

    Raises:
        InputError: If the cluster cannot be reached, or none of its nodes can take a run.
    """

    def __init__(self, options: RayBackend, workload: Workload) -> None:
        self._cpus = workload.threads if options.cpus_per_run is None else options.cpus_per_run
        self._gpus = options.gpus(workload.device)
        self._n_jobs = workload.n_jobs
        self._is_ours = _connect(options)
        self._running: dict[Any, _Attempt] = {}
        self._models: dict[str, Any] = {}
        self._counted_at = 0.0
        self._token = Token(str(workload.out.absolute() / f".shared-{uuid.uuid4().hex}"), uuid.uuid4().hex)
        self.n_slots = self._room()
        try:
            if self.n_slots == 0:
                gpus = f" and {self._gpus:g} GPUs" if self._gpus else ""
                raise InputError(
                    f"no node of the Ray cluster has {self._cpus:g} CPUs{gpus} for a run; give fewer with "
                    "--cpus-per-run and --gpus-per-run"
                )
            _write(Path(self._token.path), self._token.content.encode())
            import ray

            self._task = ray.remote(do_on_node)
        except BaseException:
            self.close()
            raise

    def start(self, job: Job) -> None:
        """Submit the job to Ray, which starts it where there is room."""
        self._submit(_Attempt(job, with_absolute_paths(job)))

    def wait(self, on_message: OnMessage) -> None:
        """Report one message."""
        import ray

        while True:
            self._count()
            ready, _ = ray.wait(list(self._running), num_returns=1, timeout=_SECONDS_BETWEEN_COUNTS)
            if ready and self._take(ready[0], on_message):
                return

    def close(self) -> None:
        """Cancel running jobs and leave the cluster, or shut it down if we started it."""
        import ray

        for stream, attempt in self._running.items():
            attempt.release()
            with suppress(Exception):  # the cluster may be gone
                ray.cancel(stream, force=True)
        self._running = {}
        self._models = {}
        if self._is_ours:
            ray.shutdown()
        with suppress(OSError):
            Path(self._token.path).unlink(missing_ok=True)

    def _submit(self, attempt: _Attempt) -> None:
        import ray

        files = read_run_folder(Path(attempt.there.folder))
        order = Order(
            attempt.there, self._token, required_versions(attempt.job), _environment(), os.getcwd(),
            self._gpus if 0 < self._gpus < 1 else 1.0, attempt.number > 0, ray.put(files) if files else None,
            self._model(attempt.there.initial_model),
        )  # fmt: skip
        task = self._task.options(
            name=attempt.job.title, num_returns="streaming", max_retries=0, num_cpus=self._cpus, num_gpus=self._gpus,
            scheduling_strategy="SPREAD",
        )  # fmt: skip
        self._running[task.remote(order)] = attempt

    def _model(self, path: str | None) -> Any:
        """Return a reference to the content of a shared round 0's file, or None if it does not exist yet."""
        import ray

        self._models = {name: reference for name, reference in self._models.items() if os.path.exists(name)}
        if path is None or not os.path.exists(path):
            return None
        if path not in self._models:
            self._models[path] = ray.put(Path(path).read_bytes())
        return self._models[path]

    def _take(self, stream: Any, on_message: OnMessage) -> bool:
        """Handle the next message of a run; return whether it was reported."""
        import ray

        attempt = self._running[stream]
        try:
            message = dict(ray.get(next(stream)))
        except StopIteration:
            message = {"kind": "lost", "reason": "it ended without a message"}
        except ray.exceptions.RayTaskError as error:
            message = {"kind": "end", "failure": format_error(error.cause)}
        except ray.exceptions.RayError as error:
            message = {"kind": "lost", "reason": _reason(error)}
        try:
            return self._handle(stream, attempt, message, on_message)
        except RunFolderError as error:  # its files cannot be written
            with suppress(Exception):
                ray.cancel(stream, force=True)
            self._end(stream, attempt, str(error), on_message)
            return True

    def _handle(self, stream: Any, attempt: _Attempt, message: Message, on_message: OnMessage) -> bool:
        match message["kind"]:
            case "place":
                attempt.node, attempt.is_shared = message["node"], message["is_shared"]
                if not attempt.is_shared:
                    attempt.copy = RunFolderCopy(Path(attempt.there.folder))
                return False
            case "lost":
                self._lost(stream, attempt, message["reason"], on_message)
            case "end":
                attempt.keep(message)
                failure = message["failure"]
                if failure is not None:
                    failure = f"{failure} (on {attempt.node})" if attempt.node else failure
                elif attempt.is_shared:
                    failure = _await_file(Path(attempt.there.folder) / _LAST_FILE)
                self._end(stream, attempt, failure, on_message)
            case _:
                attempt.keep(message)
                on_message(attempt.job, message)
        return True

    def _lost(self, stream: Any, attempt: _Attempt, reason: str, on_message: OnMessage) -> None:
        where = f" (on {attempt.node})" if attempt.node else ""
        if attempt.number == RETRIES:
            self._end(stream, attempt, f"{reason}{where}; this was the last of {RETRIES + 1} attempts", on_message)
            return
        del self._running[stream]
        attempt.release()
        again = _Attempt(attempt.job, attempt.there, attempt.number + 1)
        self._submit(again)
        text = f"{attempt.job.title}: {reason}{where}; started again, retry {again.number} of {RETRIES}"
        on_message(attempt.job, {"kind": "log", "name": __name__, "level": logging.WARNING, "text": text})

    def _end(self, stream: Any, attempt: _Attempt, failure: str | None, on_message: OnMessage) -> None:
        del self._running[stream]
        attempt.release()
        on_message(attempt.job, {"kind": "end", "failure": failure})

    def _count(self) -> None:
        """Update the number of slots from time to time: nodes come and go."""
        if time.monotonic() - self._counted_at > _SECONDS_BETWEEN_COUNTS:
            self.n_slots = max(1, self._room())

    def _room(self) -> int:
        """Return how many runs fit on all live nodes together, at most as many as were requested."""
        import ray

        self._counted_at = time.monotonic()
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call, unused-ignore]
        alive = [node["Resources"] for node in nodes if node["Alive"]]
        room = sum(self._room_on(resources) for resources in alive)
        return room if self._n_jobs is None else min(room, self._n_jobs)

    def _room_on(self, resources: Mapping[str, float]) -> int:
        bounds = []
        if self._cpus:
            bounds.append(resources.get("CPU", 0) / self._cpus)
        if 0 < self._gpus < 1:  # no run uses fractions of two GPUs
            bounds.append(resources.get("GPU", 0) * int(1 / self._gpus + 1e-6))
        elif self._gpus:
            bounds.append(resources.get("GPU", 0) / self._gpus)
        return int(min(bounds, default=resources.get("CPU", 0)) + 1e-6)


@dataclass
class _Attempt:
    """A submitted job.

    Attributes:
        job: The job as it was given.
        there: The job as the node gets it.
        number: How often it was lost before.
        node: The node that executes it, once that is known.
        is_shared: Whether that node writes into the run folder itself.
        copy: The run folder, if we write it for the node.
    """

    job: Job
    there: Job
    number: int = 0
    node: str = ""
    is_shared: bool = True
    copy: RunFolderCopy | None = None

    def keep(self, message: Message) -> None:
        """Remove the files from a message and write them."""
        model = message.pop("initial_model", None)
        if model is not None and self.there.initial_model is not None:
            _write(Path(self.there.initial_model), model)
        files = message.pop("files", None)
        if files and self.copy is not None:
            self.copy.write(files)

    def release(self) -> None:
        """Unlock the run folder."""
        if self.copy is not None:
            self.copy.close()
            self.copy = None


def _connect(options: RayBackend) -> bool:
    """Join a cluster or start one; return whether we did."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise InputError(f"Ray cannot be imported ({format_error(error)}): pip install 'deepal_autoal[ray]'") from error
    if ray.is_initialized():  # by the calling program
        return False
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    try:
        ray.init(
            address=options.address, log_to_driver=False, logging_level=logging.ERROR,
            **(own if options.is_local else {}),
        )  # fmt: skip
    except (Exception, SystemExit) as error:
        ray.shutdown()
        if options.is_local:
            raise InputError(f"no local Ray cluster could be started: {format_error(error)}") from error
        raise InputError(
            f"--address {options.address}: cannot join a Ray cluster ({format_error(error)}); start one with "
            "`ray start --head`, or leave --address out to start one for this command"
        ) from error
    return True


def _write(path: Path, content: bytes) -> None:
    """Write a file in the benchmark's folder, which nothing else reads meanwhile."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise RunFolderError(f"cannot write {path}: {error.strerror or error}") from error


def _environment() -> dict[str, str]:
    """Return the environment variables that a run needs with the values they have here."""
    return {name: os.environ[name] for name in _FORWARDED if name in os.environ}


def _await_file(path: Path) -> str | None:
    """Wait until a file written by a node is visible here; return an error message if it never is."""
    end = time.monotonic() + _SECONDS_TO_APPEAR
    while True:
        with suppress(OSError):
            if path.name in os.listdir(path.parent):  # unlike a stat of the file, this asks the file server again
                return None
        if time.monotonic() > end:
            return f"{path} was written on the node and is not visible here"
        time.sleep(0.1)


def _reason(error: Exception) -> str:
    """Summarize an error of Ray in one line."""
    import ray

    known = {
        ray.exceptions.NodeDiedError: "its node was lost",
        ray.exceptions.OutOfMemoryError: "its node ran out of memory",
        ray.exceptions.WorkerCrashedError: "its process or node was lost",
    }
    for kind, reason in known.items():
        if isinstance(error, kind):
            return reason
    return f"Ray lost it: {format_error(error)[:200]}"
