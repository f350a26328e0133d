"""The batches that an oracle tried, and their files: one ``.npz`` a round in the run folder, without pickle."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.errors import RunFolderError
from deepal_autoal.files import read_bytes, write_bytes
from deepal_autoal.user_paths import user_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Trial:
    """A batch and the model that was trained with it.

    Attributes:
        strategy: What chose the batch.
        subpool_size: Number of candidates that it was chosen from.
        batch: Pool indices, int64 (b,); in a greedy search the batch so far, from one sample to all.
        accuracy: Of the task model after the batch, on the third split, in [0, 1].
        loss: Likewise its mean negative log-likelihood, in nats; lower is better.
        accuracy_again, loss_again: Of another training with a fresh seed; NaN if there was none.
    """

    strategy: str
    subpool_size: int
    batch: NDArray[np.int64]
    accuracy: float
    loss: float
    accuracy_again: float = math.nan
    loss_again: float = math.nan


@dataclass(frozen=True)
class RoundTrials:
    """A round's state and all batches that an oracle tried from there.

    Attributes:
        round: Number of the round, from 0.
        labeled: Pool indices of the labeled samples, int64 (M,), in the order in which they were labeled.
        third_split: Rows of the training split that scores are measured on, int64 (n,).
        accuracy, loss: Of the task model before any batch, as in `Trial`.
        trials: In the order in which they were tried.
        chosen: The position of the one that was queried.
    """

    round: int
    labeled: NDArray[np.int64]
    third_split: NDArray[np.int64]
    accuracy: float
    loss: float
    trials: tuple[Trial, ...]
    chosen: int

    @cached_property
    def gains(self) -> NDArray[np.float64]:
        """Accuracy of each trial minus that before, float64 (trials,)."""
        return np.array([trial.accuracy for trial in self.trials]) - self.accuracy


def read_trials(folder: str | Path) -> list[RoundTrials]:
    """Return the batches that the oracle of a run tried, round by round.

    Args:
        folder: The run folder; of an unfinished run, the rounds so far.

    Raises:
        RunFolderError: If it holds none, or a file is damaged.
    """
    place = user_path(folder, "the run folder")
    found = [_read(path) for path in sorted(place.glob("trials-*.npz"))]
    if not found:
        raise RunFolderError(f"{place} holds no trials: give the run folder of an oracle")
    return found


def write_trials(folder: Path, found: RoundTrials) -> None:
    """Write a round's file, atomically; a round that is done again writes the same file.

    Raises:
        RunFolderError: If it cannot be written.
    """
    trials = found.trials
    arrays: dict[str, Any] = {
        "format_version": np.int64(FORMAT_VERSION),
        "round": np.int64(found.round),
        "labeled": found.labeled,
        "third_split": found.third_split,
        "accuracy_before": np.float64(found.accuracy),
        "loss_before": np.float64(found.loss),
        "chosen": np.int64(found.chosen),
        "strategy": np.array([trial.strategy for trial in trials], dtype=np.str_),
        "subpool_size": _whole([trial.subpool_size for trial in trials]),
        "batch_size": _whole([len(trial.batch) for trial in trials]),
        "batches": np.concatenate([trial.batch for trial in trials]),
        **{name: np.array([getattr(trial, name) for trial in trials], dtype=np.float64) for name in _MEASURES},
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_bytes(folder / f"trials-{found.round:05d}.npz", buffer.getvalue())


_MEASURES = ("accuracy", "loss", "accuracy_again", "loss_again")


def _read(path: Path) -> RoundTrials:
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
        if found["format_version"] != FORMAT_VERSION:
            raise RunFolderError(f"{path} was written by another version of deepal_autoal: update it")
        ends = np.cumsum(found["batch_size"])
        if ends[-1] != len(found["batches"]):
            raise ValueError("its batches are incomplete")
        trials = [
            Trial(str(strategy), int(size), batch, *map(float, measures))
            for strategy, size, batch, *measures in zip(
                found["strategy"], found["subpool_size"], np.split(found["batches"], ends[:-1]),
                *(found[name] for name in _MEASURES), strict=True,
            )
        ]  # fmt: skip
        return RoundTrials(
            int(found["round"]), found["labeled"], found["third_split"], float(found["accuracy_before"]),
            float(found["loss_before"]), tuple(trials), int(found["chosen"]),
        )  # fmt: skip
    except (zipfile.BadZipFile, EOFError, IndexError, KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{path} is damaged ({error})") from error


def _whole(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)
