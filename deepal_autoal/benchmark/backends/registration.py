"""Registers the backend ``local``; imports nothing heavy, since every listing runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from deepal_autoal.plugins.registry import Registrar


@hookimpl
def deepal_register_backends(registry: Registrar) -> None:
    """Add ``local``."""
    registry.add(
        "local",
        "deepal_autoal.benchmark.backends.local:Local",
        summary="This machine: runs one after the other, or --jobs at a time in processes of their own",
    )
