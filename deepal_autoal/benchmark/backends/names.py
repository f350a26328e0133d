"""Names of backends with their options. Imports nothing heavy."""

from __future__ import annotations

from contextlib import suppress
from numbers import Integral
from typing import TYPE_CHECKING, Any

from deepal_autoal.benchmark.backends.interface import Backend
from deepal_autoal.errors import InputError, PluginError
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.notation import Notation
from deepal_autoal.plugins.options import constructor_options, fill_options

if TYPE_CHECKING:
    from deepal_autoal.benchmark.backends.interface import Executor

_MAX_THREADS = 4096
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
    try:
        # Also where the class is a frozen dataclass.
        object.__setattr__(backend, "name", name)
        object.__setattr__(backend, "provider", entry.provider)
    except (AttributeError, TypeError):
        raise PluginError(
            f"backend {name!r} of {entry.provider}: {backend!r} has no attributes name and provider that can be set"
        ) from None
    return backend


def checked_device(backend: Backend, device: Any) -> str | None:
    """Return what a backend's ``device`` returned.

    Raises:
        PluginError: If it is not the name of a device.
    """
    allowed = isinstance(device, str) and (not backend.is_remote or device in ("cpu", "cuda", "mps"))
    if not (allowed or (device is None and not backend.is_remote)):
        raise PluginError(
            f"{backend}: device returned {device!r}; return the name of a device, such as 'cpu' or 'cuda'"
        )
    return device  # type: ignore[no-any-return]


def checked_threads(backend: Backend, threads: Any) -> int:
    """Return what a backend's ``threads`` returned, as Python's own number.

    Raises:
        PluginError: If it is not a number of threads.
    """
    number = int(threads) if isinstance(threads, Integral) else 0
    if not 1 <= number <= _MAX_THREADS:
        raise PluginError(f"{backend}: threads returned {threads!r}; return a whole number from 1 to {_MAX_THREADS}")
    return number


def checked_executor(backend: Backend, executor: Any) -> Executor:
    """Return what a backend's ``open`` returned.

    Raises:
        PluginError: If it is not an executor.
    """
    methods = [name for name in ("start", "wait", "close") if not callable(getattr(executor, name, None))]
    if methods or not isinstance(getattr(executor, "n_slots", None), Integral):
        raise PluginError(
            f"{backend}: open returned {executor!r}; return an object with n_slots, a whole number, and the methods "
            "start, wait and close"
        )
    return executor  # type: ignore[no-any-return]


def _with_option(option: str) -> list[str]:
    """Return the names of the backends that have an option."""
    found = []
    for entry in plugin_host().backends.entries():
        with suppress(PluginError):  # broken, which is reported when it is requested
            if option in constructor_options(entry.load()):
                found.append(entry.name)
    return found
