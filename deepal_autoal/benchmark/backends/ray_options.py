"""Options of the Ray backend: where the cluster is, and what each run uses of it."""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from deepal_autoal.errors import InputError, UnknownNameError

BACKENDS = ("local", "ray")
LOCAL = "local"
# Ray's own variable, which is set for programs inside a cluster.
ADDRESS_VARIABLE = "RAY_ADDRESS"
_SECONDS_TO_CONNECT = 5.0


@dataclass(frozen=True)
class RayOptions:
    """Options of the Ray backend.

    Attributes:
        address: ``host:port`` or ``auto`` for a running cluster, ``local`` to start one for this command.
        cpus_per_run: CPUs that Ray reserves for a run; None for as many as it has threads.
        gpus_per_run: Likewise; with 0.25, for example, four runs share a GPU.
    """

    address: str = LOCAL
    cpus_per_run: float | None = None
    gpus_per_run: float | None = None

    def __post_init__(self) -> None:
        for option, value in (("--cpus-per-run", self.cpus_per_run), ("--gpus-per-run", self.gpus_per_run)):
            if value is not None and not 0 <= value < float("inf"):
                raise InputError(f"{option} {value}: give 0 or more")
        if self.gpus_per_run is not None and self.gpus_per_run > 1 and self.gpus_per_run % 1:
            raise InputError(f"--gpus-per-run {self.gpus_per_run:g}: give a fraction of one GPU, or a whole number")

    @property
    def is_local(self) -> bool:
        """Whether a cluster is started for this command only."""
        return self.address == LOCAL

    @property
    def threads(self) -> int:
        """CPU threads of a run if the number is given nowhere else."""
        return max(1, int(self.cpus_per_run or 1))

    def for_device(self, device: str | None) -> tuple[RayOptions, str]:
        """Return these options with the GPUs that a device implies, and the device that runs use on Ray.

        The device of a study must not depend on which nodes have GPUs, so ``auto`` is the CPU unless GPUs are reserved.

        Args:
            device: The argument of `run`.

        Raises:
            InputError: If the two contradict each other.
        """
        if device in (None, "auto"):
            return self, "cuda" if self.gpus_per_run else "cpu"
        assert device is not None
        if device.startswith("cuda:"):
            raise InputError(f"--device {device}: Ray chooses the GPU; give --device cuda")
        if device == "cuda":
            if self.gpus_per_run == 0:
                raise InputError("--device cuda needs GPUs: give --gpus-per-run more than 0, such as 0.5")
            return replace(self, gpus_per_run=self.gpus_per_run or 1.0), device
        if self.gpus_per_run:
            raise InputError(f"--gpus-per-run reserves GPUs that --device {device} does not use; leave one of them out")
        return self, device

    def check(self) -> None:
        """Check for errors that would otherwise appear later.

        Raises:
            InputError: If Ray is not installed, or nothing listens at the address.
        """
        if importlib.util.find_spec("ray") is None:
            raise InputError("--backend ray needs Ray: pip install 'deepal_autoal[ray]'")
        if self.address in (LOCAL, "auto"):
            return
        if "://" in self.address:
            raise InputError(
                f"--address {self.address}: Ray Client is not supported; start the command on a node of the cluster "
                "with --address auto"
            )
        host, colon, port = self.address.rpartition(":")
        if not colon or not port.isdecimal():
            raise InputError(f"--address {self.address}: give HOST:PORT, such as 10.0.0.1:6379, or auto")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT).close()
        except (OSError, OverflowError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"--address {self.address}: no Ray cluster answers there ({reason}); `ray start --head` prints a "
                "cluster's address"
            ) from None


def read_backend(
    backend: str, address: str | None, cpus_per_run: float | None, gpus_per_run: float | None
) -> RayOptions | None:
    """Return the checked options of the Ray backend, or None for the local one.

    Args:
        backend: ``local`` or ``ray``.
        address, cpus_per_run, gpus_per_run: See `RayOptions`; by default the address is that in ``RAY_ADDRESS``.

    Raises:
        InputError: If options contradict each other, Ray is missing, or nothing listens at the address.
    """
    if backend not in BACKENDS:
        raise UnknownNameError("backend", backend, BACKENDS)
    if backend == "local":
        given: Mapping[str, Any] = {
            "--address": address, "--cpus-per-run": cpus_per_run, "--gpus-per-run": gpus_per_run,
        }  # fmt: skip
        for option, value in given.items():
            if value is not None:
                raise InputError(f"{option} needs --backend ray")
        return None
    options = RayOptions(address or os.environ.get(ADDRESS_VARIABLE) or LOCAL, cpus_per_run, gpus_per_run)
    options.check()
    return options
