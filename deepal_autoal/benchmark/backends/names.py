"""Names of backends with their options. Imports nothing heavy."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from deepal_autoal.benchmark.backends.interface import Backend
from deepal_autoal.errors import InputError, PluginError
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.notation import Notation
from deepal_autoal.plugins.options import constructor_options, fill_options

_NOTATION = Notation("--backend", "write it as NAME or NAME[KEY=VALUE,...]")


def create_backend(written: str, **flags: Any) -> Backend:
    """Create the backend of a name, which checks its options.

    Args:
        written: ``NAME`` or ``NAME[KEY=VALUE,...]``.
        flags: The values of options that have a flag, such as ``address`` for ``--address``; None if not given.

    Raises:
        UnknownNameError: If the name is not registered, or the backend has no such option.
        PluginError: If its plugin is broken.
        InputError: If an option cannot be used.
    """
    name, options = _NOTATION.read(written)
    entry = plugin_host().backends.get(name)
    cls = entry.load()
    parameters = constructor_options(cls)
    given: dict[str, Any] = dict(options)
    for option, value in flags.items():
        if value is None:
            continue
        flag = f"--{option.replace('_', '-')}"
        if option not in parameters:
            raise InputError(f"{flag} needs --backend {' or '.join(_with_option(option)) or 'with that option'}")
        if option in given:
            raise _NOTATION.error(written, f"{flag} gives the same option; leave one of them out")
        given[option] = value
    backend: Backend = entry.call(**fill_options("backend", name, cls, parameters, given))
    backend.name, backend.provider = name, entry.provider
    return backend


def _with_option(option: str) -> list[str]:
    """Return the names of the backends that have an option."""
    found = []
    for entry in plugin_host().backends.entries():
        with suppress(PluginError):  # broken, which is reported when it is requested
            if option in constructor_options(entry.load()):
                found.append(entry.name)
    return found
