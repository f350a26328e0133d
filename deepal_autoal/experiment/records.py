"""Run folders: one run's settings, rounds, summary and model, written so that a crash loses at most one round."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deepal_autoal.errors import RunFolderError
from deepal_autoal.experiment.run_config import RunConfig
from deepal_autoal.experiment.run_files import CHECKSUMS, read_config, read_finished, read_round_lines, run_identity
from deepal_autoal.experiment.run_files import CONFIG as CONFIG
from deepal_autoal.experiment.run_files import MODEL as MODEL
from deepal_autoal.experiment.run_files import ROUNDS as ROUNDS
from deepal_autoal.experiment.run_files import SUMMARY as SUMMARY
from deepal_autoal.experiment.run_files import area_under_budget_curve as area_under_budget_curve
from deepal_autoal.experiment.run_files import read_rounds as read_rounds
from deepal_autoal.experiment.run_files import total_seconds as total_seconds
from deepal_autoal.experiment.scores import PLAIN, WORST_GROUP
from deepal_autoal.files import LOCK as LOCK
from deepal_autoal.files import (
    TEMPORARY_SUFFIX,
    checksum_of_bytes,
    checksum_of_file,
    csv_for_people,
    lock_folder,
    read_tensors,
    remove_file,
    remove_leftovers,
    write_bytes,
    write_json,
    write_tensors,
)
from deepal_autoal.user_paths import user_path

if TYPE_CHECKING:
    from deepal_autoal.experiment.learner import ActiveLearner
    from deepal_autoal.measuring.profile import Profile

QUERIED = "queried.csv"
QUERIED_COLUMNS = ("round", "index", "id", "label")


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
        self.path = user_path(path, "--out")
        self._lines: list[str] = []
        self._identity: str | None = None
        self._model: str | None = None
        self._is_new = not os.path.exists(self.path)
        in_use = f"{self.path} is in use by another process; wait for it or choose another --out"
        self._lock = lock_folder(self.path, in_use, "choose another --out")
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
        with suppress(OSError):
            if self._is_new and [path.name for path in self.path.iterdir()] == [LOCK]:
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()
        with suppress(OSError):
            self._lock.release()

    @property
    def is_finished(self) -> bool:
        """Whether the run is complete."""
        return (self.path / SUMMARY).exists()

    def read_config(self) -> RunConfig | None:
        """Return the settings of the run in this folder, or None."""
        if not (self.path / CONFIG).exists():
            return None
        content = read_config(self.path)
        self._identity = run_identity(content)
        return RunConfig.from_json(content, self.path / CONFIG)

    def write_config(self, config: RunConfig) -> None:
        """Write the settings."""
        content = config.to_json()
        self._identity = run_identity(content)
        write_json(self.path / CONFIG, content)

    def read_rounds(self) -> list[dict[str, Any]]:
        """Return the finished rounds' records."""
        return read_rounds(self.path)

    def read_progress(self, config: RunConfig) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        """Return the records to continue from and the state after the last of them; nothing and None to begin.

        A last round that is to be done again is left out: that of a run that is extended, as it has no query, and one
        whose model was lost.

        Args:
            config: The run's settings.

        Raises:
            RunFolderError: If a file is damaged, or they do not belong together.
        """
        lines = read_round_lines(self.path)
        records = [record for _, record in lines]
        if not records and any(path.name != self._state(0).name for path in self._states()):
            raise RunFolderError(f"{self.path} is damaged: {ROUNDS} lacks the rounds before the saved state")
        if records and not records[-1]["queried"] and self._must_repeat(records[-1]["round"], config.rounds):
            records.pop()
        if not records:
            return [], None
        state = self._read_state(len(records) - 1)
        content = b"".join(line for line, _ in lines[: len(records)])
        if state.get(ROUNDS) not in (None, checksum_of_bytes(content)):
            raise RunFolderError(f"{self.path / ROUNDS} is damaged or was edited: it does not match the saved state")
        if state.get(CONFIG) not in (None, self._identity):
            raise RunFolderError(f"{self.path / CONFIG} is of another run: it does not match the saved state")
        labeled = [*config.initial, *(index for record in records for index in record["queried"])]
        learner = state["learner"]
        if learner["labeled"].tolist() != labeled or learner["round"] != records[-1]["round"]:
            raise RunFolderError(f"{self.path} is damaged: the saved state is not the one after its last round")
        self._model = state.get(MODEL)
        return records, state

    def _must_repeat(self, number: int, n_rounds: int) -> bool:
        """Return whether the last round, which has no query, must be done again for a run of so many rounds."""
        path = self._state(number)
        if not path.exists():
            return number < n_rounds
        state = read_tensors(path)
        if state.get("stop_reason") is None and number < n_rounds:
            return True
        model = self.path / MODEL
        is_whole = model.exists() and state.get(MODEL) in (None, checksum_of_file(model))
        return not is_whole and (number == 0 or self._state(number - 1).exists())

    def write_round(self, records: Sequence[Mapping[str, Any]], state: Mapping[str, Any]) -> None:
        """Write the last record and the state to continue from, as one step; ``records`` holds all rounds.

        The state is written first, under the round's own name: a crash in between leaves the old pair valid. When
        there is no query any more, the state before is kept too, for a run that is extended.
        """
        number = records[-1]["round"]
        # Written records do not change: only new ones are encoded.
        self._lines += [json.dumps(record, allow_nan=False) for record in records[len(self._lines) :]]
        content = ("\n".join(self._lines) + "\n").encode()
        checksums = {ROUNDS: checksum_of_bytes(content), CONFIG: self._identity, MODEL: self._model}
        write_tensors(self._state(number), {**state, **checksums})
        write_bytes(self.path / ROUNDS, content)
        self._drop_states({number} if records[-1]["queried"] else {number, number - 1})

    def write_queried(self, rows: Iterable[tuple[int, int, str, str]]) -> None:
        """Write the table of queried samples, for people.

        Args:
            rows: Round, pool index, the sample's name and its label, as text.
        """
        write_bytes(self.path / QUERIED, csv_for_people(QUERIED_COLUMNS, rows))

    def write_model(self, learner: ActiveLearner) -> None:
        """Write the task model's weights, with the inputs' normalization, as one flat dict of tensors."""
        weights = dict(learner.fit().module.state_dict())
        weights["normalization.mean"] = torch.as_tensor(learner.normalization.mean)
        weights["normalization.std"] = torch.as_tensor(learner.normalization.std)
        weights["normalization.unit_rows"] = torch.tensor(learner.normalization.unit_rows)
        self._model = write_tensors(self.path / MODEL, weights)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the summary, which marks the run as complete, and delete the states that are not needed any more."""
        checksums = {
            ROUNDS: checksum_of_file(self.path / ROUNDS),
            CONFIG: self._identity,
            MODEL: self._model,
        }
        write_json(self.path / SUMMARY, {**summary, CHECKSUMS: checksums})
        self.drop_states(summary["n_rounds"])

    def read_finished(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return a complete run's records and summary.

        Raises:
            RunFolderError: If a file is damaged, or they do not belong together.
        """
        records, _, summary = read_finished(self.path)
        if "status" not in summary:
            raise RunFolderError(f"{self.path / SUMMARY} is damaged")
        return records, summary

    def drop_states(self, n_rounds: int) -> None:
        """Delete the states, except the one from which a complete run can be extended."""
        self._drop_states({n_rounds - 1})

    def check_extendable(self, config: RunConfig, records: Sequence[Mapping[str, Any]]) -> None:
        """Check that a run can go on to more rounds than it was begun with, as if it had been begun with them.

        Args:
            config: Its settings, with the new number of rounds.
            records: Its records so far.

        Raises:
            RunFolderError: If it cannot; says why.
        """
        reason = self.why_not_extendable(config, records)
        if reason:
            raise RunFolderError(
                f"the run in {self.path} cannot be extended: {reason}; run it again with --rounds {config.rounds} in "
                "another folder"
            )

    def why_not_extendable(self, config: RunConfig, records: Sequence[Mapping[str, Any]]) -> str:
        """Return why a run cannot go on to more rounds, or nothing if it can (see `check_extendable`)."""
        if len(records) < 2 and not (records and records[0]["queried"]):
            return ""  # nothing was queried yet
        before = len(records) - 1 if records[-1]["queried"] else len(records) - 2
        if not self._state(before).exists():
            return "an earlier version finished it without a state to continue from"
        _, state = self.read_progress(config)
        if state is None or state.get("uses_n_rounds") is False:
            return ""
        if "uses_n_rounds" not in state:
            return "it was begun by an earlier version, which did not record whether its strategy plans ahead"
        name = config.strategy["name"]
        return f"strategy {name!r} plans with the number of rounds, and with more it would have chosen otherwise"

    def reopen(self) -> None:
        """Make a complete run incomplete, to be extended: `read_progress` then leaves out its last round.

        Raises:
            RunFolderError: If that cannot be written.
        """
        remove_file(self.path / SUMMARY)

    def _read_state(self, number: int) -> dict[str, Any]:
        path = self._state(number)
        if not path.exists():
            raise RunFolderError(f"{self.path} is damaged: it lacks {path.name}, the state after its last round")
        state = read_tensors(path)
        if not isinstance(state.get("learner"), dict) or "stop_reason" not in state:
            raise RunFolderError(f"{path} is damaged: it is not a run's state")
        return state

    def _states(self) -> list[Path]:
        return list(self.path.glob("state-*.pt"))

    def _drop_states(self, kept: set[int]) -> None:
        names = {self._state(number) for number in kept if number >= 0}
        remove_leftovers(path for path in self._states() if path not in names)

    def _state(self, number: int) -> Path:
        return self.path / f"state-{number:05d}.pt"

    def _check(self, resume: bool) -> None:
        remove_leftovers(self.path.glob(f".*{TEMPORARY_SUFFIX}"))
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
            **{f"final_{name}": self.rounds[-1][name] for name in (WORST_GROUP, PLAIN) if name in self.rounds[-1]},
            "n_rounds": self.rounds[-1]["round"],
            "n_labeled": self.rounds[-1]["n_labeled"],
            "seconds": {**seconds, "total": total_seconds(self.rounds)},
            "status": self.status,
        }
        return summary if self.stop_reason is None else {**summary, "stop_reason": self.stop_reason}
