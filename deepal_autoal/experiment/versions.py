"""Versions of the software that affects a run's numbers, for its record."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

RECORDED = ("deepal_autoal", "torch", "torchvision", "numpy", "scikit-learn", "scipy", "timm")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages in `RECORDED` that are installed."""
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
