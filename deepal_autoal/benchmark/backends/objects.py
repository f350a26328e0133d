"""Strategies that exist as Python objects, sent to worker processes on this machine.

A worker imports what a script imports, but not the script or notebook itself. Objects are pickled, which is safe here:
only the process that starts a worker writes to it, and nothing is kept in a file.
"""

from __future__ import annotations

import base64
import pickle
import pickletools
import sys
from collections.abc import Mapping
from typing import Any

from deepal_autoal.errors import format_error
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.references import is_reference
from deepal_autoal.plugins.registry import IN_PROCESS, Entry
from deepal_autoal.strategies.given import own_name

OBJECTS = "objects"


def of_this_process(settings: Mapping[str, Any]) -> list[Any]:
    """Return what a run's strategy and candidates consist of that no other process can create by a name."""
    given = (settings["strategy"], *(settings["candidates"] or ()))
    registered = plugin_host().strategies
    return [
        item if not isinstance(item, str) else registered.get(item)
        for item in given
        if not isinstance(item, str)
        or (not is_reference(item) and item in registered and registered.get(item).provider == IN_PROCESS)
    ]


def why_not_sent(settings: Mapping[str, Any]) -> str:
    """Return why another process cannot import a run's objects; empty if it can."""
    for item in of_this_process(settings):
        target, name = (item.target, item.name) if isinstance(item, Entry) else (item, own_name(item))
        try:
            modules = _modules(pickle.dumps(target))
        except Exception as error:  # of anybody's __reduce__
            return f"{name} cannot be sent to another process ({format_error(error)})"
        if "__main__" in modules:
            return f"{name} is defined in a script or notebook: define it in a module that these import"
    return ""


def pack(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's settings as plain data, from which `unpack` gets the objects."""
    objects = of_this_process(settings)
    if not objects:
        return dict(settings)
    entries = [item for item in objects if isinstance(item, Entry)]
    sent = {
        "settings": {name: settings[name] for name in ("strategy", "candidates")},
        "registered": {entry.name: entry.target for entry in entries},
    }
    packed = {"path": [*sys.path], "pickle": base64.b64encode(pickle.dumps(sent)).decode("ascii")}
    return {**settings, "strategy": None, "candidates": None, OBJECTS: packed}


def unpack(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that were packed, and register in this process what was registered there."""
    from deepal_autoal.strategies.registering import register_strategy

    plain = {name: value for name, value in settings.items() if name != OBJECTS}
    packed = settings.get(OBJECTS)
    if packed is None:
        return plain
    sys.path += [folder for folder in packed["path"] if folder not in sys.path]
    sent = pickle.loads(base64.b64decode(packed["pickle"]))
    for name, target in sent["registered"].items():
        register_strategy(name, target)
    return {**plain, **sent["settings"]}


def _modules(pickled: bytes) -> set[str]:
    """Return every text in a pickle that can be a module's name."""
    found: set[str] = set()
    for _, argument, _ in pickletools.genops(pickled):
        if isinstance(argument, str):
            found.update(argument.split(" ")[:1])
    return found
