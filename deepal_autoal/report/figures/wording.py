"""Formats words and numbers for figures, and selects the runs that a figure shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from deepal_autoal.errors import UnknownNameError
from deepal_autoal.experiment.results import FinishedRun, Results


def runs_on(results: Results, dataset: str) -> dict[str, dict[int, FinishedRun]]:
    """Return a dataset's runs by strategy and seed.

    Raises:
        UnknownNameError: If there are none.
    """
    runs = results.on(dataset)
    if not runs:
        raise UnknownNameError("dataset of these results", dataset, results.datasets)
    return runs


def format_seeds(runs: Mapping[str, Collection[int]]) -> str:
    """Return the number of seeds, a range if strategies differ: ``5 seeds``, ``3 to 5 seeds``."""
    counts = sorted({len(seeds) for seeds in runs.values()})
    if len(counts) > 1:
        return f"{counts[0]} to {counts[-1]} seeds"
    return "1 seed" if counts == [1] else f"{counts[0]} seeds"


def percent(share: float, decimals: int = 1) -> str:
    """Return a share in percent, such as ``91.3%``."""
    return f"{100 * share:.{decimals}f}%"


def points(difference: float, decimals: int = 2) -> str:
    """Return a difference of shares in percentage points with its sign, such as ``+1.20``."""
    value = round(100 * difference, decimals)
    sign = "+" if value > 0 else "\N{MINUS SIGN}" if value < 0 else ""
    return f"{sign}{abs(value):.{decimals}f}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """Return names joined by commas; names beyond the most are only counted."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
