"""Strategies side by side: a grid of runs over datasets and seeds, and its tables.

Importing this package is light; what trains is imported when a benchmark runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepal_autoal.benchmark.runner import BenchmarkResult, run_benchmark

__all__ = ["BenchmarkResult", "run_benchmark"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from deepal_autoal.benchmark import runner

        return getattr(runner, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
