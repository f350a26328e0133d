"""Choose the next run: in the grid's order, skipping runs that wait for a shared round 0 still in training."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from deepal_autoal.benchmark.grid import GridRun
from deepal_autoal.experiment.records import ROUNDS

# No label begins with a dot.
SHARED_FOLDER = ".round-0"


class Schedule:
    """The remaining runs of a grid.

    The first run of a dataset and seed trains round 0 and saves the model to a file; the others start once the file
    exists. So round 0 is never trained twice, and no slot is idle while there is other work.

    Args:
        runs: In the order of execution.
    """

    def __init__(self, runs: Iterable[GridRun]) -> None:
        self._waiting = list(runs)
        sharing = [run for run in self._waiting if _shares(run)]
        sizes = Counter(_group(run) for run in sharing)
        self._left = {group: size for group, size in sizes.items() if size > 1}
        self._trained = {run.folder for run in sharing if _group(run) in self._left}
        self._trainer: dict[Path, GridRun] = {}
        self._ready: set[Path] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def initial_model(self, run: GridRun) -> Path | None:
        """Return the file of a run's shared round 0, or None if it trains its own."""
        return _group(run) if run.folder in self._trained else None

    def take(self) -> GridRun | None:
        """Return the next run that can start, or None while all remaining runs wait for others."""
        for position, run in enumerate(self._waiting):
            shared = self.initial_model(run)
            if shared is None or shared in self._ready or shared not in self._trainer:
                if shared is not None and shared not in self._ready:
                    self._trainer[shared] = run
                return self._waiting.pop(position)
        return None

    def note_round(self, run: GridRun) -> None:
        """Record that a run has finished a round."""
        shared = self.initial_model(run)
        if shared is not None:
            self._ready.add(shared)

    def note_end(self, run: GridRun) -> None:
        """Record that a run has ended, successfully or not, and remove a file that is no longer needed."""
        shared = self.initial_model(run)
        if shared is None:
            return
        if self._trainer.get(shared) is run and shared not in self._ready:
            del self._trainer[shared]  # it failed before that: another run must train it
        self._left[shared] -= 1
        if not self._left[shared]:
            with suppress(OSError):  # `remove_shared` tries again
                shared.unlink()


def remove_shared(runs: Iterable[GridRun]) -> None:
    """Remove the models saved beside these runs: the code that trained them may have changed since."""
    for folder in {_group(run).parent for run in runs}:
        shutil.rmtree(folder, ignore_errors=True)


def _group(run: GridRun) -> Path:
    """Return the file for round 0 of a run's dataset and seed."""
    return run.folder.parent.parent / SHARED_FOLDER / f"seed-{run.seed}.pt"


def _shares(run: GridRun) -> bool:
    # Compiled models are not shared: see `LiveRun`.
    return not run.changes_training and not run.setup.recipe.compile and not (run.folder / ROUNDS).exists()
