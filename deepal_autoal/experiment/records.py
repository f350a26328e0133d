"""Run folders: one run's settings, rounds, summary and model, written so that a crash loses at most one round."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import torch

from deepal_autoal.errors import RunFolderError
from deepal_autoal.experiment.run_config import RunConfig
from deepal_autoal.experiment.run_files import CONFIG as CONFIG
from deepal_autoal.experiment.run_files import LOCK as LOCK
from deepal_autoal.experiment.run_files import ROUNDS as ROUNDS
from deepal_autoal.experiment.run_files import SUMMARY as SUMMARY
from deepal_autoal.experiment.run_files import area_under_budget_curve as area_under_budget_curve
from deepal_autoal.experiment.run_files import read_rounds as read_rounds
from deepal_autoal.experiment.run_files import total_seconds as total_seconds
from deepal_autoal.files import TEMPORARY_SUFFIX, read_json, read_tensors, write_bytes, write_json, write_tensors

if TYPE_CHECKING:
    from deepal_autoal.experiment.learner import ActiveLearner
    from deepal_autoal.measuring.profile import Profile

MODEL = "model.pt"


class RunFolder:
    """One run's files. Use it as a context manager: it holds the folder's lock.

    Args:
        path: The folder; created if it is missing.
        resume: Whether a run in this folder may be continued.

    Raises:
        RunFolderError: If the folder cannot be written, another process uses it, or it holds a run, or anything
            else, that this run would overwrite.
    """

    def __init__(self, path: str | Path, resume: bool = False) -> None:
        self.path = Path(path)
        self._lines: list[str] = []
        try:
            self._is_new = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(self.path / LOCK)
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            raise RunFolderError(
                f"{self.path} is in use by another process; wait for it or choose another --out"
            ) from None
        except (OSError, NotImplementedError) as error:
            raise RunFolderError(f"cannot write to {self.path}: {getattr(error, 'strerror', None) or error}") from error
        try:
            self._check(resume)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock; a new folder in which nothing was written is removed."""
        if self._is_new and [path.name for path in self.path.iterdir()] == [LOCK]:
            (self.path / LOCK).unlink(missing_ok=True)
            self.path.rmdir()
        self._lock.release()

    @property
    def is_finished(self) -> bool:
        """Whether the run is complete."""
        return (self.path / SUMMARY).exists()

    def read_config(self) -> RunConfig | None:
        """Return the settings of the run in this folder, or None."""
        if not (self.path / CONFIG).exists():
            return None
        return RunConfig.from_json(read_json(self.path / CONFIG), self.path / CONFIG)

    def write_config(self, config: RunConfig) -> None:
        """Write the settings."""
        write_json(self.path / CONFIG, config.to_json())

    def read_rounds(self) -> list[dict[str, Any]]:
        """Return the finished rounds' records."""
        return read_rounds(self.path)

    def write_round(self, records: Sequence[Mapping[str, Any]], state: Mapping[str, Any]) -> None:
        """Write the last record and the state to continue from, as one step; ``records`` holds all rounds.

        The state is written first, under the round's own name: a crash in between leaves the old pair valid.
        """
        number = records[-1]["round"]
        write_tensors(self._state(number), state)
        # Written records do not change: only new ones are encoded.
        self._lines += [json.dumps(record, allow_nan=False) for record in records[len(self._lines) :]]
        write_bytes(self.path / ROUNDS, ("\n".join(self._lines) + "\n").encode())
        for path in self.path.glob("state-*.pt"):
            if path != self._state(number):
                path.unlink(missing_ok=True)

    def read_state(self, number: int) -> dict[str, Any]:
        """Return the state after a round."""
        return read_tensors(self._state(number))

    def write_model(self, learner: ActiveLearner) -> None:
        """Write the task model's weights, with the inputs' normalization, as one flat dict of tensors."""
        weights = dict(learner.fit().module.state_dict())
        weights["normalization.mean"] = torch.as_tensor(learner.normalization.mean)
        weights["normalization.std"] = torch.as_tensor(learner.normalization.std)
        weights["normalization.unit_rows"] = torch.tensor(learner.normalization.unit_rows)
        write_tensors(self.path / MODEL, weights)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the summary, which marks the run as complete, and delete the saved states."""
        write_json(self.path / SUMMARY, summary)
        self.drop_states()

    def read_summary(self) -> dict[str, Any]:
        """Return a complete run's summary."""
        summary = read_json(self.path / SUMMARY)
        if not isinstance(summary, dict) or "status" not in summary:
            raise RunFolderError(f"{self.path / SUMMARY} is damaged")
        return summary

    def drop_states(self) -> None:
        """Delete the states, which only an unfinished run needs."""
        for path in self.path.glob("state-*.pt"):
            path.unlink(missing_ok=True)

    def _state(self, number: int) -> Path:
        return self.path / f"state-{number:05d}.pt"

    def _check(self, resume: bool) -> None:
        for path in self.path.glob(f".*{TEMPORARY_SUFFIX}"):
            path.unlink(missing_ok=True)
        content = {path.name for path in self.path.iterdir()} - {LOCK}
        if CONFIG in content:
            if not resume:
                raise RunFolderError(f"{self.path} holds a run; continue it with --resume or choose another --out")
        elif content:
            raise RunFolderError(f"{self.path} is not empty but holds no run; choose another --out")


@dataclass(frozen=True, repr=False)
class RunResult:
    """A finished run.

    Attributes:
        rounds: One record per round, as in ``rounds.jsonl``.
        config: The resolved settings, as in ``config.json``.
        status: ``"finished"``, or ``"stopped"`` when a plugin stopped it early.
        stop_reason: The plugin's reason.
        folder: The run folder, or None.
        profile: Where the time went, if it was measured; in the folder as ``profile.json`` and ``profile.md``.
    """

    rounds: list[dict[str, Any]]
    config: dict[str, Any]
    status: str = "finished"
    stop_reason: str | None = None
    folder: Path | None = None
    profile: Profile | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        strategy = self.config.get("strategy", {}).get("name", "a strategy")
        dataset = self.config.get("dataset", {}).get("name", "a dataset")
        scores = f"accuracy={self.accuracy:.4f}, aubc={self.aubc:.4f}" if self.rounds else "no rounds"
        parts = [
            f"{strategy} on {dataset}",
            f"n_rounds={max(len(self.rounds) - 1, 0)}",
            scores,
            f"status={self.status!r}",
        ]
        if self.stop_reason is not None:
            parts.append(f"stop_reason={self.stop_reason!r}")
        return f"RunResult({', '.join([*parts, *([] if self.folder is None else [f'folder={str(self.folder)!r}'])])})"

    @property
    def accuracy(self) -> float:
        """Test accuracy after the last round, in [0, 1]."""
        return float(self.rounds[-1]["accuracy"])

    @property
    def aubc(self) -> float:
        """Area under the budget curve, in [0, 1] (see `area_under_budget_curve`)."""
        return area_under_budget_curve(
            [record["n_labeled"] for record in self.rounds], [record["accuracy"] for record in self.rounds]
        )

    def summary(self) -> dict[str, Any]:
        """Return the contents of ``summary.json``."""
        phases = sorted({phase for record in self.rounds for phase in record["seconds"]})
        seconds = {phase: sum(record["seconds"].get(phase, 0.0) for record in self.rounds) for phase in phases}
        summary = {
            "aubc": self.aubc,
            "final_accuracy": self.accuracy,
            "n_rounds": self.rounds[-1]["round"],
            "n_labeled": self.rounds[-1]["n_labeled"],
            "seconds": {**seconds, "total": total_seconds(self.rounds)},
            "status": self.status,
        }
        return summary if self.stop_reason is None else {**summary, "stop_reason": self.stop_reason}
