"""Runs on the nodes of a Ray cluster. What a node takes along when it goes is done again, from the last round on."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepal_autoal.benchmark import collected
from deepal_autoal.benchmark.backends import Tell
from deepal_autoal.benchmark.job import Job
from deepal_autoal.benchmark.ray_options import RayOptions
from deepal_autoal.benchmark.ray_worker import Order, Token, do_on_node
from deepal_autoal.benchmark.worker import log_level
from deepal_autoal.datasets import DATA_DIR_VARIABLE
from deepal_autoal.errors import InputError, RunFolderError, spell
from deepal_autoal.files import write_bytes
from deepal_autoal.plugins import plugin_host
from deepal_autoal.records import LOCK, SUMMARY, RunFolder
from deepal_autoal.versions import versions

logger = logging.getLogger(__name__)

# How often a run is begun again after its node or its process was lost.
RETRIES = 3

_FORWARDED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "DEEPAL_DISABLE_PLUGINS")
# Read when ray is imported. What its machinery writes would else lie across the bar; what became of a run is told.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
          "RAY_SCHEDULER_EVENTS": "0"}  # fmt: skip
# Of a cluster of our own: no more than files on their way goes through it.
_OBJECT_STORE_BYTES = 256 * 2**20
_SECONDS_BETWEEN_COUNTS = 2.0
# Until a file that a node has written shows on a network file system.
_SECONDS_TO_APPEAR = 60.0


class RayCluster:
    """Does jobs on the nodes of a Ray cluster.

    Args:
        options: Which cluster, and what a run takes of it.
        cpus: CPUs that Ray books for a run where the options leave that open.
        n_jobs: The most runs at a time; None: as many as the nodes take.
        out: The benchmark's folder, by which nodes find out whether they share it.

    Raises:
        InputError: If the cluster cannot be reached, or none of its nodes can take a run.
    """

    def __init__(self, options: RayOptions, cpus: float, n_jobs: int | None, out: Path) -> None:
        self._cpus = cpus if options.cpus_per_run is None else options.cpus_per_run
        self._gpus = options.gpus_per_run or 0.0
        self._n_jobs = n_jobs
        self._is_ours = _connect(options)
        self._under_way: dict[Any, _Attempt] = {}
        self._models: dict[str, Any] = {}
        self._counted_at = 0.0
        self._token = Token(str(out.absolute() / f".shared-{uuid.uuid4().hex}"), uuid.uuid4().hex)
        self.n_slots = self._room()
        try:
            if self.n_slots == 0:
                gpus = f" and {self._gpus:g} GPUs" if self._gpus else ""
                raise InputError(
                    f"no node of the Ray cluster has {self._cpus:g} CPUs{gpus} for a run; give fewer with "
                    "--cpus-per-run and --gpus-per-run"
                )
            write_bytes(Path(self._token.path), self._token.content.encode())
            import ray

            self._task = ray.remote(do_on_node)
        except BaseException:
            self.close()
            raise

    def start(self, job: Job) -> None:
        """Hand the job to Ray, which begins it where there is room."""
        settings = dict(job.settings)
        if settings.get("dataset") not in plugin_host().datasets:  # a path, perhaps relative
            settings["dataset"] = os.path.abspath(settings["dataset"])
        data_dir = settings.get("data_dir") or os.environ.get(DATA_DIR_VARIABLE) or "data"
        settings["data_dir"] = os.path.abspath(Path(data_dir).expanduser())
        model = None if job.initial_model is None else os.path.abspath(job.initial_model)
        there = replace(job, settings=settings, folder=os.path.abspath(job.folder), initial_model=model)
        self._submit(_Attempt(job, there))

    def wait(self, tell: Tell) -> None:
        """Pass on one message."""
        import ray

        while True:
            self._count()
            ready, _ = ray.wait(list(self._under_way), num_returns=1, timeout=_SECONDS_BETWEEN_COUNTS)
            if ready and self._take(ready[0], tell):
                return

    def close(self) -> None:
        """Cancel what is under way and leave the cluster; one of our own ends."""
        import ray

        for stream, attempt in self._under_way.items():
            attempt.release()
            with suppress(Exception):  # the cluster may be gone
                ray.cancel(stream, force=True)
        self._under_way = {}
        self._models = {}
        if self._is_ours:
            ray.shutdown()
        with suppress(OSError):
            Path(self._token.path).unlink(missing_ok=True)

    def _submit(self, attempt: _Attempt) -> None:
        import ray

        files = collected.all_files(Path(attempt.there.folder))
        order = Order(
            attempt.there, self._token, _versions(attempt.job.settings), _environment(), os.getcwd(), log_level(), LOCK,
            attempt.number > 0, ray.put(files) if files else None, self._model(attempt.there.initial_model),
        )  # fmt: skip
        task = self._task.options(
            name=attempt.job.title, num_returns="streaming", max_retries=0, num_cpus=self._cpus, num_gpus=self._gpus,
            scheduling_strategy="SPREAD",
        )  # fmt: skip
        self._under_way[task.remote(order)] = attempt

    def _model(self, path: str | None) -> Any:
        """Return a reference to the content of a shared round 0's file, or None if it is not there yet."""
        import ray

        self._models = {name: reference for name, reference in self._models.items() if os.path.exists(name)}
        if path is None or not os.path.exists(path):
            return None
        if path not in self._models:
            self._models[path] = ray.put(Path(path).read_bytes())
        return self._models[path]

    def _take(self, stream: Any, tell: Tell) -> bool:
        """Take in what a run says next; returns whether that was told."""
        import ray

        attempt = self._under_way[stream]
        try:
            message = dict(ray.get(next(stream)))
        except StopIteration:
            message = {"kind": "lost", "reason": "it ended without a word"}
        except ray.exceptions.RayTaskError as error:
            message = {"kind": "end", "failure": spell(error.cause)}
        except ray.exceptions.RayError as error:
            message = {"kind": "lost", "reason": _reason(error)}
        try:
            return self._handle(stream, attempt, message, tell)
        except RunFolderError as error:  # its files cannot be kept
            with suppress(Exception):
                ray.cancel(stream, force=True)
            self._end(stream, attempt, str(error), tell)
            return True

    def _handle(self, stream: Any, attempt: _Attempt, message: dict[str, Any], tell: Tell) -> bool:
        match message["kind"]:
            case "place":
                attempt.node, attempt.is_shared = message["node"], message["is_shared"]
                if not attempt.is_shared:
                    attempt.held = RunFolder(attempt.there.folder, resume=True)
                return False
            case "lost":
                self._lost(stream, attempt, message["reason"], tell)
            case "end":
                attempt.keep(message)
                failure = message["failure"]
                if failure is not None:
                    failure = f"{failure} (on {attempt.node})" if attempt.node else failure
                elif attempt.is_shared:
                    failure = _await_file(Path(attempt.there.folder) / SUMMARY)
                self._end(stream, attempt, failure, tell)
            case _:
                attempt.keep(message)
                tell(attempt.job, message)
        return True

    def _lost(self, stream: Any, attempt: _Attempt, reason: str, tell: Tell) -> None:
        where = f" (on {attempt.node})" if attempt.node else ""
        if attempt.number == RETRIES:
            self._end(stream, attempt, f"{reason}{where}; so ended all of {RETRIES + 1} attempts, the last one", tell)
            return
        del self._under_way[stream]
        attempt.release()
        again = _Attempt(attempt.job, attempt.there, attempt.number + 1)
        self._submit(again)
        text = f"{attempt.job.title}: {reason}{where}; begun again, retry {again.number} of {RETRIES}"
        tell(attempt.job, {"kind": "log", "name": __name__, "level": logging.WARNING, "text": text})

    def _end(self, stream: Any, attempt: _Attempt, failure: str | None, tell: Tell) -> None:
        del self._under_way[stream]
        attempt.release()
        tell(attempt.job, {"kind": "end", "failure": failure})

    def _count(self) -> None:
        """See every now and then how many runs the nodes take: nodes come and go."""
        if time.monotonic() - self._counted_at > _SECONDS_BETWEEN_COUNTS:
            self.n_slots = max(1, self._room())

    def _room(self) -> int:
        """Return how many runs the nodes that live take together, at most as many as were asked for."""
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
        if 0 < self._gpus < 1:  # no run has shares of two GPUs
            bounds.append(resources.get("GPU", 0) * int(1 / self._gpus + 1e-6))
        elif self._gpus:
            bounds.append(resources.get("GPU", 0) / self._gpus)
        return int(min(bounds, default=resources.get("CPU", 0)) + 1e-6)


@dataclass
class _Attempt:
    """A job on its way.

    Attributes:
        job: As it was given.
        there: As the node gets it.
        number: How often it was lost before.
        node: Where it is done, once that is known.
        is_shared: Whether that node writes into the run folder itself.
        held: The run folder, locked, where we write for it.
    """

    job: Job
    there: Job
    number: int = 0
    node: str = ""
    is_shared: bool = True
    held: RunFolder | None = None

    def keep(self, message: dict[str, Any]) -> None:
        """Take the files out of a message and write them."""
        model = message.pop("initial_model", None)
        if model is not None and self.there.initial_model is not None:
            path = Path(self.there.initial_model)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, model)
        files = message.pop("files", None)
        if files:
            collected.put(Path(self.there.folder), files)

    def release(self) -> None:
        """Unlock the run folder."""
        if self.held is not None:
            self.held.close()
            self.held = None


def _connect(options: RayOptions) -> bool:
    """Join a cluster or start one; returns whether it was us who did."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise InputError(f"Ray cannot be imported ({spell(error)}): pip install 'deepal_autoal[ray]'") from error
    if ray.is_initialized():  # by whoever called us
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
            raise InputError(f"no local Ray cluster could be started: {spell(error)}") from error
        raise InputError(
            f"--address {options.address}: cannot join a Ray cluster ({spell(error)}); start one with `ray start "
            "--head`, or leave --address out for one of this command's own"
        ) from error
    return True


def _versions(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return what must be installed everywhere for a run: what decides numbers, and its strategies' distributions."""
    strategies = plugin_host().strategies
    names = [settings["strategy"], *(settings.get("candidates") or ())]
    providers = [strategies.get(name).provider for name in names if name in strategies]
    return {**versions(), **{provider.distribution: provider.version for provider in providers}}


def _environment() -> dict[str, str]:
    """Return the variables that a run needs as they are here."""
    return {name: os.environ[name] for name in _FORWARDED if name in os.environ}


def _await_file(path: Path) -> str | None:
    """Wait until a file that a node has written shows here; returns what is wrong if it does not."""
    end = time.monotonic() + _SECONDS_TO_APPEAR
    while True:
        with suppress(OSError):
            if path.name in os.listdir(path.parent):  # unlike a look at the file, this asks a file server anew
                return None
        if time.monotonic() > end:
            return f"{path} was written elsewhere and does not show here"
        time.sleep(0.1)


def _reason(error: Exception) -> str:
    """Say in a line what Ray says in many."""
    import ray

    known = {
        ray.exceptions.NodeDiedError: "its node was lost",
        ray.exceptions.OutOfMemoryError: "its node ran out of memory",
        ray.exceptions.WorkerCrashedError: "its process or node was lost",
    }
    for kind, reason in known.items():
        if isinstance(error, kind):
            return reason
    return f"Ray lost it: {spell(error)[:200]}"
