"""``--config FILE.toml``: defaults for a command's settings, under the long options' names."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from deepal_autoal.errors import InputError, UnknownNameError

FILE_OPTIONS = "deepal.options"
# The four-byte ones first: one of them begins with the two-byte one.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_config(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Make the file's settings the defaults, which the command line overrides."""
    if path is None:
        return
    options = context.command.get_params(context)
    known = {str(option.name) for option in options if option.expose_value and option.name != "resume"}
    flags = {str(option.name) for option in options if isinstance(option, click.Option) and option.is_flag}
    defaults = _defaults_of(path, known, flags)
    for option in options:
        name = str(option.name)
        if name in defaults and name not in flags:
            try:
                option.type_cast_value(context, defaults[name])
            except click.BadParameter as error:
                raise InputError(f"{path}: {name.replace('_', '-')}: {error.message}") from None
    context.meta[FILE_OPTIONS] = defaults.pop("options", [])  # -o adds to them, option by option
    context.default_map = {**(context.default_map or {}), **defaults}


def _defaults_of(path: Path, known: set[str], flags: set[str]) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return _as_typed(tomllib.loads(_read_text(path)), path, known, flags)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"cannot read {path}: {error}") from error
    except RecursionError:
        raise InputError(f"cannot read {path}: it is nested too deeply") from None


def _read_text(path: Path) -> str:
    """Return the text of a file of settings: UTF-8, as TOML always is, or what its byte order mark says.

    Raises:
        InputError: If it is no regular file, which may have no end, or cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            kind = "folder" if os.path.isdir(path) else "pipe or device"
            raise InputError(f"--config {path} is a {kind}: give a file")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"--config {path}: cannot read it: {error.strerror or error}") from error
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"--config {path}: {error.reason} at byte {error.start}: save it as UTF-8") from error


def _as_typed(content: Mapping[str, Any], path: Path, known: set[str], flags: set[str]) -> dict[str, Any]:
    """Return the settings as they would be typed on the command line."""
    defaults: dict[str, Any] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name in ("option", "options"):
            if not isinstance(value, Mapping):
                raise InputError(f"{path}: {key} must be a table, such as [options] with power = 5")
            defaults["options"] = [f"{option}={item}" for option, item in _flat(value)]
        elif name == "strategies" and name in known and isinstance(value, Mapping):
            for label, written in value.items():
                if not isinstance(written, str):
                    raise InputError(f'{path}: {key}: write {label} = "NAME" or "NAME[KEY=VALUE,...]"')
            defaults[name] = ",".join(f"{label}={written}" for label, written in value.items())
        elif name in flags and not isinstance(value, bool):
            raise InputError(f"{path}: {key} must be true or false, not {value!r}")
        elif isinstance(value, Mapping):
            raise InputError(f"{path}: {key} must be a single value, not a table")
        elif name not in known:
            raise UnknownNameError("setting", key, known, f"It is in {path}.")
        elif name == "image_size" and isinstance(value, list):
            defaults[name] = "x".join(map(str, value))
        elif isinstance(value, list):
            # A trailing comma for a single item: a list of one seed is not a number of seeds.
            defaults[name] = ",".join(map(str, value)) + ("," if len(value) == 1 else "")
        else:
            defaults[name] = value if name in flags else str(value)  # as if typed
    return defaults


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return a table's values with dotted keys: [options.kmeans] addresses the candidate kmeans."""
    flat = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat += _flat(value, f"{prefix}{key}.")
        else:
            flat.append((f"{prefix}{key}", value))
    return flat
