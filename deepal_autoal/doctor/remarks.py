"""Judges an examination: what is wrong, what is slow and why, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import requires
from typing import Any, Literal

# An import or a plugin that takes longer is felt at every command; of a disk, at every round.
SLOW_TORCH_SECONDS, SLOW_PLUGINS_SECONDS, SLOW_SYNC_SECONDS = 8.0, 1.0, 0.1
LEAST_FREE_GIB = 1.0


@dataclass(frozen=True)
class Remark:
    """One sentence about an installation.

    Attributes:
        kind: ``fault``: something does not work; ``slow``: it works, more slowly than it could; ``note``: to be known.
        text: What it is, and what to do.
    """

    kind: Literal["fault", "slow", "note"]
    text: str


def judge(found: Mapping[str, Any]) -> list[Remark]:
    """Return remarks about what `examine` found, faults first."""
    remarks = [
        *_packages(found["packages"]), *_torch(found), *_cores(found), *_plugins(found), *_folders(found["folders"]),
    ]  # fmt: skip
    return sorted(remarks, key=lambda remark: ("fault", "slow", "note").index(remark.kind))


def _packages(packages: Mapping[str, str | None]) -> Iterator[Remark]:
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:
        return
    for text in requires("deepal_autoal") or []:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = packages.get(requirement.name)
        if requirement.name in packages and version is None:
            yield Remark("fault", f"{requirement.name} is not installed: pip install '{text}'")
        elif version is not None and not requirement.specifier.contains(version, prereleases=True):
            yield Remark("fault", f"{requirement.name} {version} is installed, {text} is needed: pip install '{text}'")


def _torch(found: Mapping[str, Any]) -> Iterator[Remark]:
    torch, packages = found["torch"], found["packages"]
    if torch["error"] is not None:
        yield Remark("fault", f"torch cannot be imported ({torch['error']}): reinstall torch and torchvision together")
        return
    if torch["torchvision_error"] is not None:
        pair = f"torch {packages['torch']} and torchvision {packages['torchvision']}"
        reason = torch["torchvision_error"]
        yield Remark("fault", f"torchvision cannot be imported ({reason}): {pair} may not belong together; "
                     "pip install --upgrade torch torchvision")  # fmt: skip
    for device in torch["devices"]:
        if device["error"] is not None:
            yield Remark("fault", f"{device['device']} does not compute: {device['error']}")
    has_gpu = any(device["device"] != "cpu" for device in torch["devices"])
    if found["machine"]["has_nvidia_driver"] and not has_gpu:
        if torch["cuda_build"] is None:
            yield Remark("slow", "the machine has an NVIDIA driver, but this torch computes on CPUs only: install a "
                         "CUDA build (pytorch.org/get-started)")  # fmt: skip
        elif "CUDA_VISIBLE_DEVICES" in found["environment"]:
            visible = found["environment"]["CUDA_VISIBLE_DEVICES"] or "empty, which hides all"
            yield Remark("note", f"torch sees no GPU: CUDA_VISIBLE_DEVICES is {visible}")
        else:
            yield Remark("slow", "the machine has an NVIDIA driver, but torch sees no GPU: the driver may be older "
                         f"than CUDA {torch['cuda_build']}, or the container has no GPU")  # fmt: skip
    elif not has_gpu:
        yield Remark("note", "there is no GPU: networks on images train on the CPU; `deepal embed` once and a linear "
                     "model is the fast way")  # fmt: skip
    if found["seconds"]["torch"] > SLOW_TORCH_SECONDS:
        yield Remark("slow", f"importing torch took {found['seconds']['torch']:.0f} s: a network disk, "
                     "a virus scanner or a busy machine; every command that computes waits for the import")  # fmt: skip


def _cores(found: Mapping[str, Any]) -> Iterator[Remark]:
    machine, threads = found["machine"], found["torch"].get("threads")
    cores, usable, load = machine["cores"], machine["usable_cores"], machine["load"]
    if cores and usable and usable < cores:
        yield Remark("note", f"this process may use {usable:g} of {cores} cores")
    if threads and usable and threads > usable:
        few = max(1, int(usable))
        yield Remark("slow", f"torch uses {threads} threads on {usable:g} usable cores, which wait for each other: "
                     f"--threads {few}, or OMP_NUM_THREADS={few}")  # fmt: skip
    if threads == 1 and usable and usable >= 4:
        yield Remark("slow", f"torch uses one thread of {usable:g} cores: --threads {int(usable)}, or "
                     "`deepal benchmark --jobs`")  # fmt: skip
    if load and usable and load[0] > 1.5 * usable:
        yield Remark("slow", f"the machine is busy: {load[0]:.1f} processes want {usable:g} cores, so nothing timed "
                     "now can be compared")  # fmt: skip
    limit, size = machine["memory_limit_gib"], machine["memory_gib"]
    if limit is not None and (size is None or limit < size):
        yield Remark("note", f"this process may use {limit:g} GiB of memory")


def _plugins(found: Mapping[str, Any]) -> Iterator[Remark]:
    for plugin in found["plugins"]:
        for problem in plugin["problems"]:
            yield Remark("fault", f"plugin of {plugin['name']} {plugin['version']}: {problem}")
    if found["seconds"]["plugins"] > SLOW_PLUGINS_SECONDS:
        yield Remark("slow", f"finding and loading plugins took {found['seconds']['plugins']:.1f} s, which every "
                     "command waits for; `deepal plugins` shows which")  # fmt: skip
    if disabled := found["environment"].get("DEEPAL_DISABLE_PLUGINS"):
        yield Remark("note", f"DEEPAL_DISABLE_PLUGINS disables {disabled}")


def _folders(folders: Mapping[str, Mapping[str, Any]]) -> Iterator[Remark]:
    if "error" in folders["data"]:
        yield Remark("fault", folders["data"]["error"])
    for name in ("here", "temporary"):
        place = folders[name]
        if not place["is_writable"]:
            yield Remark("fault" if name == "temporary" else "note", f"{place['path']} cannot be written")
        elif place["free_gib"] is not None and place["free_gib"] < LEAST_FREE_GIB:
            yield Remark("slow", f"the disk of {place['path']} has {place['free_gib']:g} GiB left")
    seconds = folders["here"]["sync_seconds"]
    if seconds is not None and seconds > SLOW_SYNC_SECONDS:
        yield Remark("slow", f"the disk of {folders['here']['path']} takes {1000 * seconds:.0f} ms to keep a file for "
                     "certain, and each round keeps several: --out on a local disk")  # fmt: skip
