"""Collects the facts of the installation and the machine. Every part survives a broken installation."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from deepal_autoal.datasets import DATA_DIR_VARIABLE, data_folder
from deepal_autoal.errors import DeepALError, error_message
from deepal_autoal.measuring.resources import memory_size
from deepal_autoal.plugins.host import plugin_host

PACKAGES = (
    "torch", "torchvision", "numpy", "scikit-learn", "scipy", "medmnist", "pluggy", "click", "jinja2", "matplotlib",
    "pillow", "tqdm", "ray", "tensorboard", "timm", "sentence-transformers", "pandas", "polars", "pyarrow",
)  # fmt: skip
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES")
_GIB = 2**30


def examine() -> dict[str, Any]:
    """Return everything, JSON-able. Takes some seconds: torch is imported, and small work is timed on every device.

    Paths have ``~`` for the user's home folder, as the result is meant for a public bug report.
    """
    found: dict[str, Any] = {
        "deepal": {
            "version": version("deepal_autoal"),
            "folder": str(Path(__file__).parents[1]),
            "is_from_sources": is_from_sources(),
        },
        "python": {
            "version": platform.python_version(),
            "executable": sys.executable,
            "platform": platform.platform(),
        },
        "machine": machine(),
        "packages": {name: installed(name) for name in PACKAGES},
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith("DEEPAL_") or name in THREAD_VARIABLES
        },
    }
    started = time.perf_counter()
    found["plugins"] = plugin_host().describe()
    found["seconds"] = {"plugins": time.perf_counter() - started}
    started = time.perf_counter()
    error = import_error("torch")
    found["seconds"]["torch"] = time.perf_counter() - started
    found["torch"] = {"error": error, "torchvision_error": None, "devices": []} if error else torch_state()
    found["folders"] = {
        "data": named_data(),
        "here": {**folder(Path.cwd()), "sync_seconds": sync_seconds(Path.cwd())},
        "temporary": folder(Path(tempfile.gettempdir())),
        "published weights": folder(weights_folder()),
    }
    return without_home(found)  # type: ignore[no-any-return]


def without_home(found: Any) -> Any:
    """Return a text, or the lists and dicts around texts, with ``~`` for the user's home folder wherever it occurs."""
    if isinstance(found, dict):
        return {key: without_home(value) for key, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [*map(without_home, found)]
    if not isinstance(found, str):
        return found
    home = os.path.expanduser("~")
    for folder in (home, os.path.realpath(home)):
        if len(folder) > 1:
            found = re.sub(rf"(?<!\w){re.escape(folder)}(?!\w|[.-]\w)", "~", found)
    return found


def is_from_sources() -> bool:
    """Return whether the package is imported from a source tree, and not from where pip installs packages."""
    return not {"site-packages", "dist-packages"} & set(Path(__file__).parts)


def installed(name: str) -> str | None:
    """Return a distribution's version, None without it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    """Return cores, load and memory, with the limits of the container that the process is in."""
    size = memory_size()
    try:
        load = [round(value, 2) for value in os.getloadavg()]
    except (AttributeError, OSError):
        load = None
    return {
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "load": load,
        "memory_gib": None if size == float("inf") else round(size / _GIB, 1),
        "memory_limit_gib": memory_limit(),
        "has_nvidia_driver": shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists(),
    }


def usable_cores() -> float | None:
    """Return how many cores the process may use: its affinity, and the quota of its container (cgroup v2)."""
    try:
        cores: float = len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(cores, round(int(quota) / int(period), 2))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return cores


def memory_limit() -> float | None:
    """Return the memory limit of the process's container in GiB (cgroup v2), None without one."""
    try:
        return round(int(Path("/sys/fs/cgroup/memory.max").read_text()) / _GIB, 1)
    except (OSError, ValueError):
        return None


def import_error(module: str) -> str | None:
    """Return why a module cannot be imported, None if it can."""
    try:
        importlib.import_module(module)
    except Exception as error:
        return error_message(error)
    return None


def torch_state() -> dict[str, Any]:
    """Return torch's build, threads, devices and their speed; ``torchvision_error`` if that cannot be imported."""
    import torch

    names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        names.append("mps")
    return {
        "error": None,
        "torchvision_error": import_error("torchvision"),
        "cuda_build": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "devices": [device_state(name) for name in names],
    }


def device_state(name: str) -> dict[str, Any]:
    """Return a device's name, memory in GiB and speed; or its ``error``."""
    import torch

    from deepal_autoal.numerics.devices import describe_gpu

    found: dict[str, Any] = {"device": name, "error": None}
    try:
        device = torch.device(name)
        if device.type == "cuda":
            free, total = torch.cuda.mem_get_info(device)
            found.update(describe_gpu(device) or {}, free_gib=round(free / _GIB, 1), memory_gib=round(total / _GIB, 1))
        found["gflops"] = round(speed_of_products(device))
    except Exception as error:
        found["error"] = error_message(error)
    return found


def speed_of_products(device: Any) -> float:
    """Return 10^9 floating-point operations a second of matrix products in float32, the best of at most five."""
    import torch

    from deepal_autoal.measuring.resources import Stopwatch

    size = 512 if device.type == "cpu" else 4096
    one = torch.ones(size, size, device=device)
    torch.mm(one, one)
    best, until = float("inf"), time.perf_counter() + 2.0
    for _ in range(5):
        with Stopwatch(device) as watch:
            product = torch.mm(one, one)
            if device.type == "mps":
                product[0, 0].item()
        best = min(best, watch.seconds)
        if time.perf_counter() > until:  # a busy machine
            break
    return 2e-9 * size**3 / best


def folder(path: Path) -> dict[str, Any]:
    """Return a folder's path, whether it is there and can be written, and the free space of its disk in GiB."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        free: float | None = round(shutil.disk_usage(there).free / _GIB, 1)
    except OSError:
        free = None
    return {
        "path": str(path),
        "exists": path.is_dir(),
        "is_writable": os.access(there, os.W_OK | os.X_OK),
        "free_gib": free,
    }


def named_data() -> dict[str, Any]:
    """Return the folder of named datasets; with an ``error`` if DEEPAL_DATA is no path."""
    try:
        return folder(data_folder())
    except DeepALError as error:
        return {"path": os.environ.get(DATA_DIR_VARIABLE, ""), "exists": False, "error": error_message(error)}


def sync_seconds(path: Path) -> float | None:
    """Return how long the disk takes to keep a small file for certain, as every round of a run waits for it."""
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            best = float("inf")
            for _ in range(3):
                started = time.perf_counter()
                file.write(b"0" * 4096)
                file.flush()
                os.fsync(file.fileno())
                best = min(best, time.perf_counter() - started)
        return best
    except OSError:
        return None


def weights_folder() -> Path:
    """Return where torch keeps published weights: $TORCH_HOME or ~/.cache/torch, as torch.hub finds it."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = Path(os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))).expanduser()
    return home / "hub" / "checkpoints"
