"""Batches: chosen, and as files for a person: a CSV to fill in, and a contact sheet to look at.

A batch that was chosen ahead is kept in ``next.json`` until it is handed out, which then needs no model, and no torch:
loading that takes longer than all else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.files import checksum_of_value, csv_for_people, read_json, write_bytes, write_json
from deepal_autoal.labeling.auditing import state_key
from deepal_autoal.labeling.contact_sheet import contact_sheet
from deepal_autoal.labeling.project import BATCHES, PREPARED, Batch, Project
from deepal_autoal.labeling.sources import check_sources

COLUMNS = ("id", "label")

Chosen: TypeAlias = tuple[list[int], str, str | None]
"""Rows, what chose them, and the model's name."""

logger = logging.getLogger(__name__)


def next_batch(project: Project, size: int | None = None) -> Path | None:
    """Return the CSV file of the batch to label: the open one, or a new one once all of that is answered.

    Args:
        project: Must be locked (see `Project.changing`).
        size: Of a new batch; by default the project's. At most as many as are left.

    Returns:
        The file; None if every sample has an answer.

    Raises:
        InputError: If the size is not positive, or the data cannot be used.
    """
    if size is not None and size < 1:
        raise InputError(f"-n {size}: a batch has at least one sample")
    if not project.state.open_rows:
        left = len(project.state.unlabeled)
        if not left:
            return None
        rows, how, model = _choose(project, min(size or project.settings.batch_size, left))
        number = len(project.state.batches) + 1
        # A file of this number, from a kill between the files and the event, or copied here, is another batch's.
        write_files(project, Batch(number, tuple(rows), how, model), replace=True)
        project.add_event("batch", number=number, rows=rows, how=how, model=model)
    batch = project.state.batches[-1]
    write_files(project, batch, replace=False)
    return batch_path(project, batch.number)


def prepare_next(project: Project, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Train, and choose the next batch, once the open one is answered, so that asking for it takes no time.

    What the audit says is estimated as well if the model learns from vectors; networks for images take too long.

    Args:
        project: Must be locked (see `Project.changing`).
        progress: Of the audit (see `Learning.estimate`).
    """
    left = len(project.state.unlabeled)
    if project.state.open_rows:
        return
    from deepal_autoal.labeling.learning import Learning

    learning = Learning(project)
    if not learning.can_train:
        return
    if left:
        size = min(project.settings.batch_size, left)
        rows, how, model = learning.next_rows(size)
        write_json(project.path / PREPARED,
                   {"key": _prepared_key(project, size), "rows": rows, "how": how, "model": model})  # fmt: skip
    if project.settings.audit and learning.samples.array.ndim == 2:
        learning.estimate(progress)


def _choose(project: Project, size: int) -> Chosen:
    """Return the next batch, chosen now if it was not before for this very state."""
    check_sources(project)
    prepared = _read_prepared(project, size)
    if prepared is not None:
        return prepared
    from deepal_autoal.labeling.learning import Learning

    return Learning(project).next_rows(size)


def _read_prepared(project: Project, size: int) -> Chosen | None:
    path = project.path / PREPARED
    if not os.path.lexists(path):
        return None
    try:
        found = read_json(path)
        if found["key"] == _prepared_key(project, size):
            return list(found["rows"]), found["how"], found["model"]
    except (RunFolderError, KeyError, TypeError) as error:
        logger.warning("%s cannot be used, and the batch is chosen again: %s", path, error)
    return None


def _prepared_key(project: Project, size: int) -> str:
    return checksum_of_value([state_key(project), project.classes, size])


def batch_path(project: Project, number: int) -> Path:
    """Return the CSV file of a batch."""
    return project.path / BATCHES / f"{number}.csv"


def write_files(project: Project, batch: Batch, replace: bool) -> None:
    """Write a batch's files; what a person has filled in stays unless ``replace``.

    Raises:
        DeepALError: If they cannot be written, or the data cannot be used.
    """
    path = batch_path(project, batch.number)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot create {path.parent}: {error.strerror}") from error
    ids = [project.state.ids[row] for row in batch.rows]
    if replace or not os.path.exists(path):
        write_bytes(path, csv_for_people(COLUMNS, [(name, "") for name in ids]))
    sheet = path.with_suffix(".html")
    if replace or not os.path.exists(sheet):
        title = f"Batch {batch.number}"
        write_bytes(sheet, contact_sheet(project, batch.rows, title, f"Fill in {path.name}, then submit it."))
