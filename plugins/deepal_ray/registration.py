"""Registers the backend ``ray`` without importing Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import hookimpl

if TYPE_CHECKING:
    from deepal_autoal import Registrar

deepal_contract = 2


@hookimpl
def deepal_register_backends(registry: Registrar) -> None:
    """Add ``ray``."""
    registry.add(
        "ray",
        "deepal_ray.backend:RayBackend",
        summary="The nodes of a Ray cluster: pip install 'deepal_autoal[ray]'",
        reference="Moritz et al. 2018, Ray: a distributed framework for emerging AI applications",
    )
