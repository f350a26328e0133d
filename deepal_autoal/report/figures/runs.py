"""Selects the runs that a figure shows."""

from __future__ import annotations

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
