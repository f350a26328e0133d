"""Deep active learning with strategies as plugins. Importing this package imports nothing heavy.

The public names are listed once, in ``__init__.pyi``; each is imported on first use.
"""

from __future__ import annotations

import sys
from typing import Any

import lazy_loader

from deepal_autoal import old_paths

_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
sys.meta_path.insert(0, old_paths.Finder())


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    return _public(name)
