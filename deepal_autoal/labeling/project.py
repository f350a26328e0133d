"""A labeling project: a folder with its settings, its samples' names and the journal of all that happened.

- ``project.json``: the settings, which never change.
- ``samples/<number>.json``: the names of the samples of one source of data, and the labels that it came with.
- ``journal.jsonl``: the events (see `journal`). A sample's row is its place in all sources, in the order in which they
  were added, and never changes.
- ``batches/``: for the person, written again if they are missing.
- ``learner.pt``, ``next.json``, ``audit.json``, ``embeddings/``: what takes long to compute, computed again if they
  are missing or damaged.

Every change is one event, so a kill at any moment loses at most what the running command was doing.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from deepal_autoal.datasets.user_data.labels import class_order
from deepal_autoal.errors import InputError, RunFolderError, UnknownNameError, error_message
from deepal_autoal.files import (
    LOCK,
    TEMPORARY_SUFFIX,
    checksum_of_file,
    lock_folder,
    read_json,
    remove_leftovers,
    write_json,
)
from deepal_autoal.labeling.journal import Journal

SETTINGS, JOURNAL, SAMPLES, BATCHES = "project.json", "journal.jsonl", "samples", "batches"
AUDIT, PREPARED = "audit.json", "next.json"
FORMAT_VERSION = 1
_LOCK_SECONDS = 2.0
# What a project writes; anything else in a folder is not overwritten by a new one.
_OWN = frozenset({SETTINGS, JOURNAL, LOCK, SAMPLES, BATCHES, AUDIT, PREPARED, "embeddings", "learner.pt"})


@dataclass(frozen=True)
class ProjectSettings:
    """What ``deepal label init`` fixed.

    Attributes:
        strategy: Name of the query strategy.
        candidates: Of a selector, as they were written; None for its own.
        options: Of the strategy.
        model: Name of the task model.
        embed: Name of the model whose embeddings stand for the images or texts; None for none.
        image_size: Size that image files are brought to, ``HxW``; None if all have one size, which is kept.
        classes: Their names, if they were given: then a new one must be confirmed.
        batch_size: Samples in a batch.
        seed: Of everything random.
        device: Where models are trained.
        form: Of the samples.
        audit: The share of each batch that is audited; 0 for none.
    """

    strategy: str
    candidates: str | None
    options: dict[str, str]
    model: str
    embed: str | None
    image_size: str | None
    classes: tuple[str, ...] | None
    batch_size: int
    seed: int
    device: str
    form: str
    audit: float


@dataclass(frozen=True)
class SourceRecord:
    """Where a source of data is.

    Attributes:
        number: From 1.
        start: The row of its first sample.
        size: Its number of samples.
        path: As recorded, relative to the project.
        absolute: Likewise, absolute.
        fingerprint: Of the data.
        ids: The samples' names.
        labels: The labels that it came with.
        sizes: Of image files: their sizes in bytes.
    """

    number: int
    start: int
    size: int
    path: str
    absolute: str
    fingerprint: str
    ids: list[str]
    labels: list[str | None]
    sizes: list[int]


@dataclass(frozen=True)
class Batch:
    """A batch that a person was asked to label.

    Attributes:
        number: From 1.
        rows: Of the samples.
        how: What chose it.
        model: What it was chosen with.
    """

    number: int
    rows: tuple[int, ...]
    how: str
    model: str | None


@dataclass(frozen=True)
class Answer:
    """One answer in the history.

    Attributes:
        label: The class; None if the person could not tell.
        at: When, UTC.
        source: How it was given, such as ``csv``.
    """

    label: str | None
    at: str
    source: str


@dataclass
class State:
    """What the events amount to.

    Attributes:
        sources: Of data.
        ids: The samples' names, by row.
        labels: Class by row, in the order in which they were labeled.
        skipped: Rows that a person could not label.
        batches: All so far.
        history: The answers to each row that has one, in order.
        known_classes: Names that were given at the start or confirmed as new classes; empty if none were given.
    """

    sources: list[SourceRecord] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    labels: dict[int, str] = field(default_factory=dict)
    skipped: set[int] = field(default_factory=set)
    batches: list[Batch] = field(default_factory=list)
    history: dict[int, list[Answer]] = field(default_factory=dict)
    known_classes: list[str] = field(default_factory=list)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Rows by name."""
        return {name: row for row, name in enumerate(self.ids)}

    @property
    def open_rows(self) -> list[int]:
        """The rows of the last batch that have no answer yet."""
        rows = self.batches[-1].rows if self.batches else ()
        return [row for row in rows if row not in self.labels and row not in self.skipped]

    @property
    def unlabeled(self) -> list[int]:
        """The rows without an answer."""
        return [row for row in range(len(self.ids)) if row not in self.labels and row not in self.skipped]

    def answer(self, row: int, answer: Answer) -> None:
        """Take an answer."""
        self.history.setdefault(row, []).append(answer)
        if answer.label is None:
            self.labels.pop(row, None)
            self.skipped.add(row)
        else:
            self.skipped.discard(row)
            self.labels[row] = answer.label

    def take_back(self, row: int) -> None:
        """Forget the last answer to a row; the one before holds again, if there is one."""
        answers = self.history.pop(row)[:-1]
        self.labels.pop(row, None)
        self.skipped.discard(row)
        for answer in answers:
            self.answer(row, answer)


class Project:
    """A project that exists. Use `changing` around whatever changes it.

    Args:
        path: Its folder.

    Raises:
        InputError: If there is none.
        RunFolderError: If a file of it is missing, cannot be read, is damaged, or was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        if not os.path.isdir(path) or not os.path.exists(path / SETTINGS) or not os.path.exists(path / JOURNAL):
            _refuse_incomplete(path)
            raise InputError(f"{path} is not a labeling project; start one with: {command('init', path)} --data PATH")
        self.path = path
        self.settings = _read_settings(path / SETTINGS)
        self.reload()
        if not self.journal.events:
            _refuse_incomplete(path)
            raise InputError(f"{path} is not complete; start it again with: {command('init', path)} --data PATH")

    @classmethod
    def draft(cls, path: Path, settings: ProjectSettings) -> Project:
        """Return a project that is about to be written, without samples."""
        project = cls.__new__(cls)
        project.path, project.settings = path, settings
        project.state = State(known_classes=list(settings.classes or ()))
        project.journal = Journal(path / JOURNAL)
        return project

    def reload(self) -> None:
        """Read the journal again."""
        self.journal = Journal(self.path / JOURNAL)
        self.state = State(known_classes=list(self.settings.classes or ()))
        for event in self.journal.events:
            self.apply(event)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the project's lock inside the block, and begin with what others did meanwhile.

        Raises:
            RunFolderError: If another process holds it, or the folder cannot be written.
        """
        with locked(self.path):
            self.reload()
            yield

    @property
    def classes(self) -> list[str]:
        """All classes: those given and those confirmed, in this order, then, sorted, others that a sample has."""
        known = dict.fromkeys(self.state.known_classes)
        return [*known, *class_order(set(self.state.labels.values()) - known.keys())]

    def add_event(self, kind: str, /, **content: Any) -> None:
        """Write an event, and take it into account."""
        self.journal.append(kind, **content)
        self.apply(self.journal.events[-1])

    def add_source(
        self, path: Path, form: str, ids: Sequence[str] | None, labels: Sequence[str | None], sizes: Sequence[int],
        fingerprint: str,
    ) -> None:  # fmt: skip
        """Add a source of data: its names to ``samples/``, then the event.

        Args:
            path: Where it is.
            form: Of its samples, the project's.
            ids: The samples' names; None for their rows.
            labels: The labels that it came with.
            sizes: Of image files.
            fingerprint: Of the data.

        Raises:
            InputError: If a name is in the project already.
        """
        if form != self.settings.form:
            raise InputError(f"{path} holds {form}, but the samples of {self.path} are {self.settings.form}")
        start = len(self.state.ids)
        names = ids if ids is not None else [str(row) for row in range(start, start + len(labels))]
        known = next((name for name in names if name in self.state.row_of), None)
        if known is not None:
            raise InputError(f"{path}: {known!r} is in the project already; give other names, or only new samples")
        event = write_source(self.path, len(self.state.sources) + 1, path, ids, labels, sizes, fingerprint)
        self.add_event("data", **event)

    def locate(self, source: SourceRecord) -> Path:
        """Return where a source's data are now.

        Raises:
            InputError: If they are where they were neither relative to the project nor absolutely.
        """
        places = [Path(os.path.normpath(self.path / source.path)), Path(source.absolute)]
        for place in places:
            if os.path.exists(place):
                return place
        raise InputError(
            f"the data of {self.path} are not at {source.absolute} any more; put them back or say where they are with: "
            f"{command('init', self.path)} --data PATH"
        )

    def row(self, name: str) -> int:
        """Return the row of a sample's name; a spreadsheet's apostrophe in front may be left in.

        Raises:
            UnknownNameError: If there is none.
        """
        rows = self.state.row_of
        for written in (name, name[1:] if name.startswith("'") else name):
            if written in rows:
                return rows[written]
        raise UnknownNameError("id", name, rows, most_listed=10)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take an event of the journal into account.

        Raises:
            RunFolderError: If it is not known, or a file that it refers to is damaged.
        """
        try:
            self._apply_known(event)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise RunFolderError(
                f"{self.path / JOURNAL} holds an event that this version cannot read ({event.get('event')!r}); update "
                "deepal_autoal"
            ) from error

    def _apply_known(self, event: Mapping[str, Any]) -> None:
        kind, state = event["event"], self.state
        if kind == "data":
            source = _read_source(self.path, event, len(state.ids))
            state.sources.append(source)
            state.ids += source.ids
            state.__dict__.pop("row_of", None)
            for row, label in enumerate(source.labels, source.start):
                if label is not None:
                    state.answer(row, Answer(label, event["at"], "data"))
        elif kind == "moved":
            old = state.sources[event["number"] - 1]
            state.sources[event["number"] - 1] = SourceRecord(
                **{**{item.name: getattr(old, item.name) for item in fields(old)},
                   "path": event["path"], "absolute": event["absolute"]})  # fmt: skip
        elif kind == "batch":
            state.batches.append(Batch(event["number"], tuple(event["rows"]), event["how"], event.get("model")))
        elif kind == "answers":
            for name, label in event["answers"].items():
                state.answer(state.row_of[name], Answer(label, event["at"], event["source"]))
        elif kind == "undone":
            state.take_back(state.row_of[event["id"]])
        elif kind == "classes":
            state.known_classes += event["names"]
        elif kind == "renamed":
            new = event["new"]
            renamed = [new if name == event["old"] else name for name in state.known_classes]
            state.known_classes = [name for name in dict.fromkeys(renamed) if name is not None]
        else:
            raise ValueError(kind)


def command(*words: object) -> str:
    """Return a ``deepal label`` command as it is typed."""
    return shlex.join(["deepal", "label", *map(str, words)])


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a project folder's lock inside the block; a missing folder is created.

    Raises:
        RunFolderError: If another process holds it, or the folder cannot be written.
    """
    in_use = (
        f"{folder} is in use by another process; wait until it is done, or end it (deepal label serve: with Ctrl+C), "
        "then try again"
    )
    lock = lock_folder(folder, in_use, seconds=_LOCK_SECONDS)
    try:
        # Of a killed process: we hold the lock.
        remove_leftovers(path for pattern in ("", "*/") for path in folder.glob(f"{pattern}.*{TEMPORARY_SUFFIX}"))
        yield
    finally:
        lock.release()


def write_settings(folder: Path, settings: ProjectSettings) -> None:
    """Write the settings of a new project."""
    write_json(folder / SETTINGS, {"format_version": FORMAT_VERSION, **asdict(settings)})


def is_begun(folder: Path) -> bool:
    """Return whether a folder holds a project; one whose start was killed does not.

    Raises:
        InputError: If it holds anything else.
        RunFolderError: If it holds a project whose settings or journal are missing.
    """
    if not os.path.lexists(folder):
        return False
    if not os.path.isdir(folder):
        raise InputError(f"{folder} is not a folder; name a new one for the project")
    try:
        names = set(os.listdir(folder))
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be read: {error.strerror}") from error
    if SETTINGS in names and JOURNAL in names and Journal(folder / JOURNAL).events:
        return True
    _refuse_incomplete(folder)
    # The lock alone, or data in a folder of their own beside it, are no obstacle.
    others = {name for name in names if not name.startswith(".") and not os.path.isdir(folder / name)} - _OWN
    if others:
        raise InputError(f"{folder} holds other files, such as {min(others)}; name a new folder for the project")
    return False


def _refuse_incomplete(folder: Path) -> None:
    """Refuse a project that has lost its settings or its journal: starting it again would overwrite the rest.

    A start that was killed leaves neither events nor batches.

    Raises:
        RunFolderError: If so.
    """
    if os.path.exists(folder / JOURNAL) and Journal(folder / JOURNAL).events:
        lost = SETTINGS
    elif os.path.exists(folder / BATCHES / "1.csv"):
        lost = JOURNAL
    else:
        return
    raise RunFolderError(f"{folder} is a labeling project whose {lost} is missing or empty; put back a copy of it")


def write_source(
    folder: Path, number: int, path: Path, ids: Sequence[str] | None, labels: Sequence[str | None],
    sizes: Sequence[int], fingerprint: str,
) -> dict[str, Any]:  # fmt: skip
    """Write the names of a source's samples, and return the content of the event that adds it."""
    file = folder / SAMPLES / f"{number}.json"
    try:
        file.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot create {file.parent}: {error.strerror}") from error
    write_json(file, {
        "ids": None if ids is None else list(ids), "sizes": list(sizes),
        "labels": list(labels) if any(label is not None for label in labels) else None,
    })  # fmt: skip
    return {"number": number, "size": len(labels), **place_of(folder, path), "fingerprint": fingerprint,
            "samples": checksum_of_file(file)}  # fmt: skip


def place_of(folder: Path, path: Path) -> dict[str, str]:
    """Return a path as it is recorded: relative to the project, and absolute."""
    absolute = os.path.abspath(path)
    try:
        relative = os.path.relpath(absolute, os.path.abspath(folder))
    except ValueError:  # on another drive
        relative = absolute
    return {"path": relative, "absolute": absolute}


def _read_source(folder: Path, event: Mapping[str, Any], start: int) -> SourceRecord:
    file = folder / SAMPLES / f"{event['number']}.json"
    if not os.path.lexists(file):
        raise RunFolderError(f"{file} is missing; put back a copy of the file")
    if checksum_of_file(file) != event["samples"]:
        raise RunFolderError(f"{file} is damaged or was edited; put back a copy of the file")
    content, size = read_json(file), event["size"]
    return SourceRecord(
        event["number"], start, size, event["path"], event["absolute"], event["fingerprint"],
        content["ids"] if content["ids"] is not None else [str(row) for row in range(start, start + size)],
        content["labels"] or [None] * size, content["sizes"],
    )  # fmt: skip


def _read_settings(path: Path) -> ProjectSettings:
    try:
        content = read_json(path)
    except RunFolderError as error:
        raise RunFolderError(f"{error_message(error)}; put back a copy of the file") from error
    version = content.pop("format_version", None) if isinstance(content, dict) else None
    names = {item.name for item in fields(ProjectSettings)}
    if version != FORMAT_VERSION or set(content) != names:
        advice = "update deepal_autoal" if isinstance(version, int) and version > FORMAT_VERSION else "put back a copy"
        raise RunFolderError(f"{path} is not in a format that this version can read (format {version!r}); {advice}")
    classes = content["classes"]
    return ProjectSettings(**{**content, "classes": None if classes is None else tuple(classes)})
