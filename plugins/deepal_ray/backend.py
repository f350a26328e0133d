"""The backend and its options: where the cluster is, and what each run uses of it. Ray is not imported here."""

from __future__ import annotations

import importlib.util
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepal_autoal import InputError
from deepal_autoal.benchmark import Backend

if TYPE_CHECKING:
    from deepal_autoal.benchmark import Executor, Workload

LOCAL = "local"
# Ray's own variable, which is set for programs inside a cluster.
ADDRESS_VARIABLE = "RAY_ADDRESS"
_SECONDS_TO_CONNECT = 5.0


@dataclass
class RayBackend(Backend):
    """Executes runs on the nodes of a Ray cluster.

    Attributes:
        address: ``host:port`` or ``auto`` for a running cluster, ``local`` to start one for this command; by default
            the address in ``RAY_ADDRESS``, or ``local``.
        cpus_per_run: CPUs that Ray reserves for a run; None for as many as it has threads.
        gpus_per_run: Likewise; with 0.25, for example, four runs share a GPU.

    Raises:
        InputError: If an option cannot be used, Ray is not installed, or nothing listens at the address.
    """

    address: str | None = None
    cpus_per_run: float | None = None
    gpus_per_run: float | None = None

    is_remote = True

    def __post_init__(self) -> None:
        given: dict[str, Any] = {"--cpus-per-run": self.cpus_per_run, "--gpus-per-run": self.gpus_per_run}
        for option, value in given.items():
            if value is not None and not (isinstance(value, int | float) and 0 <= value < float("inf")):
                raise InputError(f"{option} {value!r}: give a number of at least 0")
        if self.gpus_per_run is not None and self.gpus_per_run > 1 and self.gpus_per_run % 1:
            raise InputError(f"--gpus-per-run {self.gpus_per_run:g}: give a fraction of one GPU, or a whole number")
        self.address = self.address or os.environ.get(ADDRESS_VARIABLE) or LOCAL
        if importlib.util.find_spec("ray") is None:
            raise InputError("--backend ray needs Ray: pip install 'deepal_autoal[ray]'")
        if self.address not in (LOCAL, "auto"):
            _check_address(self.address)

    @property
    def is_local(self) -> bool:
        """Whether a cluster is started for this command only."""
        return self.address == LOCAL

    def device(self, device: str | None) -> str:
        """Return the device of all runs.

        It must not depend on which nodes have GPUs, so ``auto`` is the CPU unless GPUs are reserved.

        Raises:
            InputError: If it contradicts the reserved GPUs.
        """
        if device in (None, "auto"):
            return "cuda" if self.gpus_per_run else "cpu"
        assert device is not None
        if device.startswith("cuda:"):
            raise InputError(f"--device {device}: Ray chooses the GPU; give --device cuda")
        if device == "cuda" and self.gpus_per_run == 0:
            raise InputError("--device cuda needs GPUs: give --gpus-per-run more than 0, such as 0.5")
        if device != "cuda" and self.gpus_per_run:
            raise InputError(f"--gpus-per-run reserves GPUs that --device {device} does not use; leave one of them out")
        return device

    def gpus(self, device: str | None) -> float:
        """Return how many GPUs Ray reserves for a run on a device."""
        return (1.0 if device == "cuda" else 0.0) if self.gpus_per_run is None else self.gpus_per_run

    def threads(self, n_jobs: int) -> int:
        """Return as many threads as CPUs are reserved, or 1."""
        return max(1, int(self.cpus_per_run or 1))

    def open(self, workload: Workload) -> Executor:
        """Join the cluster, or start one."""
        from deepal_ray.cluster import RayCluster

        return RayCluster(self, workload)


def _check_address(address: str) -> None:
    """Raise `InputError` if nothing listens at an address."""
    if "://" in address:
        raise InputError(
            f"--address {address}: Ray Client is not supported; start the command on a node of the cluster "
            "with --address auto"
        )
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise InputError(f"--address {address}: give HOST:PORT, such as 10.0.0.1:6379, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"--address {address}: no Ray cluster answers there ({reason}); `ray start --head` prints a "
            "cluster's address"
        ) from None
