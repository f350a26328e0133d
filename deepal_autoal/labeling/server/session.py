"""A person labels a project, one sample at a time, while the next batch is prepared.

Each answer is in the journal when the call returns. Once half of a batch has answers, a thread trains on the labels so
far and chooses the next batch from the samples that nobody was asked for yet; so the person need not wait for it.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deepal_autoal.errors import DeepALError, InputError, error_message
from deepal_autoal.labeling.batches import write_files
from deepal_autoal.labeling.data import check_class_name
from deepal_autoal.labeling.learning import Learning
from deepal_autoal.labeling.project import Batch, Project
from deepal_autoal.labeling.server.shown import ShownSamples
from deepal_autoal.labeling.submission import as_class, doubt_about, take

if TYPE_CHECKING:
    from deepal_autoal.labeling.pool import Samples

SOURCE = "page"
"""Where answers come from, in the journal."""

logger = logging.getLogger(__name__)


class NewClassError(InputError):
    """A label is no class yet, and may be a mistake: the person is to confirm it."""


class AnsweredError(InputError):
    """An answer is for a sample that has another one already, such as one given in a second window."""


class Session:
    """A project that is being labeled. Threads may share it.

    Args:
        project: Must be locked as long as the session lasts (see `Project.changing`).
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.shown = ShownSamples(project)
        self._lock = threading.RLock()
        self._given = _answers_to_undo(project)
        self._undone: list[int] = []
        self._ready: Batch | None = None
        self._guesses: dict[int, tuple[str, float]] = {}
        self._problem: str | None = None
        self._wanted, self._over = threading.Event(), threading.Event()
        self._is_busy = False
        self._samples: Samples | None = None
        self._thread = threading.Thread(target=self._prepare_batches, name="next batch", daemon=True)

    def start(self) -> None:
        """Begin to prepare batches."""
        with self._lock:
            self._go_on()
            if self.project.state.unlabeled and len(self._waiting) <= self._half:
                self._wanted.set()
        self._thread.start()

    def stop(self) -> bool:
        """Take no more answers, prepare no more batches, and return whether one is still being prepared; see `join`."""
        with self._lock:
            self._over.set()
            self._wanted.set()
            return self._is_busy

    def join(self) -> None:
        """Wait until nothing is being prepared, after `stop`."""
        self._thread.join()

    def view(self) -> dict[str, Any]:
        """Return what the page shows, JSON-able; ``sample`` is None while there is none to label yet."""
        with self._lock:
            state, waiting = self.project.state, self._waiting
            batch = state.batches[-1] if state.batches else None
            try:
                sample = self.shown.content(waiting[0]) if waiting else None
            except DeepALError as error:
                sample, self._problem = None, error_message(error)
            return {
                "classes": self.project.classes,
                "batch": batch.number if batch else 0,
                "batch_size": len(batch.rows) if batch else 0,
                "open": len(waiting),
                "pool": len(state.ids),
                "labeled": len(state.labels),
                "skipped": len(state.skipped),
                "sample": sample,
                "next": state.ids[waiting[1]] if len(waiting) > 1 else None,
                "can_undo": bool(self._given),
                "is_done": not waiting and not state.unlabeled,
                "problem": self._problem if sample is None else None,
            }

    def answer(self, name: str, label: str | None, is_confirmed: bool = False) -> None:
        """Take an answer.

        Args:
            name: Of the sample.
            label: The class; None if the person cannot tell.
            is_confirmed: Whether a new class is not a mistake.

        Raises:
            NewClassError: If the label may be a mistake.
            AnsweredError: If the sample has another answer.
            DeepALError: If the answer cannot be taken.
        """
        with self._lock:
            self._check_open()
            state, row = self.project.state, self.row(name)
            label = label and as_class(self.project, label)
            if label is not None and label not in self.project.classes:
                check_class_name(label, "new class")
                doubt = None if is_confirmed else doubt_about(self.project, label)
                if doubt is not None:
                    raise NewClassError(doubt)
            is_known = row in state.skipped if label is None else state.labels.get(row) == label
            if row not in self._waiting and not is_known:
                raise AnsweredError(f"{name} is not waiting for an answer any more; this is the next sample")
            if take(self.project, {row: label}, SOURCE).is_change:
                self._given.append(row)
                if len(self._waiting) == self._half:
                    self._wanted.set()
            self._go_on()

    def undo(self) -> None:
        """Take the last answer back; its sample is the next one.

        Raises:
            InputError: If there is none.
        """
        with self._lock:
            self._check_open()
            if not self._given:
                raise InputError("there is no answer to undo")
            row = self._given[-1]
            self.project.add_event("undone", id=self.project.state.ids[row])
            self._given.pop()
            self._undone.append(row)

    def guess(self, name: str) -> dict[str, Any]:
        """Return the model's ``class`` and ``probability`` for a sample.

        Both are None if there is no model yet; ``is_coming`` says whether one is being trained.
        """
        with self._lock:
            row = self.row(name)
            found = self._guesses.get(row)
            is_possible = len(set(self.project.state.labels.values())) > 1 and row in self._waiting
            if found is None and is_possible and not self._is_busy and self._problem is None:
                self._wanted.set()
            label, probability = found or (None, None)
            return {"class": label, "probability": probability,
                    "is_coming": found is None and is_possible and self._problem is None}  # fmt: skip

    def try_again(self) -> None:
        """Prepare the next batch again, after a problem."""
        with self._lock:
            self._problem = None
            self._wanted.set()

    def row(self, name: str) -> int:
        """Return the row of a sample.

        Raises:
            InputError: If there is none of this name.
        """
        row = self.project.state.row_of.get(name)
        if row is None:
            raise InputError("the project has no such sample")
        return row

    def _check_open(self) -> None:
        # A request may still be running when the project's lock is released.
        if self._over.is_set():
            raise InputError("the server has been ended; start it again to go on")

    @property
    def _waiting(self) -> list[int]:
        """The rows that wait for an answer: those taken back, the last one first, then the open ones of the batch."""
        state = self.project.state
        undone = [row for row in reversed(self._undone) if row not in state.labels and row not in state.skipped]
        return list(dict.fromkeys([*undone, *state.open_rows]))

    @property
    def _half(self) -> int:
        batches = self.project.state.batches
        return max(1, len(batches[-1].rows) // 2) if batches else 0

    def _go_on(self) -> None:
        """Hand out the next batch once the last one is answered, or have it prepared."""
        # What is being prepared would have the number of a batch that is handed out meanwhile.
        if self._waiting or not self.project.state.unlabeled or self._is_busy:
            return
        batch = self._ready
        if batch is None:
            if self._problem is None:
                self._wanted.set()
            return
        self.project.add_event("batch", number=batch.number, rows=list(batch.rows), how=batch.how, model=batch.model)
        self._ready = None
        self._wanted.clear()

    def _prepare_batches(self) -> None:
        while True:
            self._wanted.wait()
            with self._lock:
                if self._over.is_set():
                    return
                self._wanted.clear()
                self._is_busy, self._problem = True, None
                held = self._waiting
                project = _snapshot(self.project, held)
            batch: Batch | None = None
            guesses: Mapping[int, tuple[str, float]] = {}
            problem = None
            try:
                batch, guesses = self._prepare(project, held)
            except DeepALError as error:
                problem = error_message(error)
            except Exception as error:
                logger.exception("The next batch cannot be prepared")
                problem = f"{type(error).__name__}: {error_message(error)}"
            with self._lock:
                self._is_busy, self._problem = False, problem
                self._guesses.update(guesses)
                self._ready = batch
                if self._over.is_set():
                    return
                try:
                    self._go_on()
                except DeepALError as error:
                    self._problem = error_message(error)

    def _prepare(
        self, project: Project, held: Sequence[int]
    ) -> tuple[Batch | None, Mapping[int, tuple[str, float]]]:  # fmt: skip
        """Return the next batch, its files written, and the model's guesses; nothing ahead of time without a model."""
        learning = Learning(project, self._samples)
        self._samples = learning.samples
        left = len(project.state.unlabeled)
        batch = None
        if left and (learning.can_train or not held):
            rows, how, model = learning.next_rows(min(project.settings.batch_size, left))
            batch = Batch(len(project.state.batches) + 1, tuple(rows), how, model)
            write_files(project, batch, replace=True)
        if not learning.can_train:
            return batch, {}
        return batch, learning.guesses([*held, *(batch.rows if batch else ())])


def _snapshot(project: Project, held: Sequence[int]) -> Project:
    """Return a project as it is now, for another thread to read; the rows held by the person are not to be chosen."""
    taken, state = copy.copy(project), project.state
    taken.state = replace(
        state, labels=dict(state.labels), skipped={*state.skipped, *held}, batches=list(state.batches), history={},
        known_classes=list(state.known_classes),
    )  # fmt: skip
    return taken


def _answers_to_undo(project: Project) -> list[int]:
    """Return the rows of the answers that were given on the page and are the last ones to their samples, in order."""
    rows: list[int] = []
    row_of = project.state.row_of
    for event in project.journal.events:
        if event["event"] == "answers":
            answered = {row_of[name] for name in event["answers"]}
            if event["source"] == SOURCE:
                rows += answered
            else:
                rows = [row for row in rows if row not in answered]
        elif event["event"] == "undone":
            rows.pop()
    return rows
