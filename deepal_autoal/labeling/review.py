"""Labels that may be wrong: those that a model trained without them finds unlikely, and those that were changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.errors import InputError
from deepal_autoal.files import csv_for_people, write_bytes
from deepal_autoal.labeling.class_names import RENAMED
from deepal_autoal.labeling.contact_sheet import contact_sheet
from deepal_autoal.labeling.learning import create_learner
from deepal_autoal.labeling.pool import samples_of
from deepal_autoal.numerics.calibration import stratified_folds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal.labeling.project import Project

COLUMNS = ("id", "label", "suggested", "confidence", "reason")
CSV, PAGE = "review.csv", "review.html"
FOLDS = 5
FEWEST_LABELS = 10


@dataclass(frozen=True)
class Doubt:
    """A label to look at again.

    Attributes:
        row: Of the sample.
        label: Its label.
        suggested: What it may be instead.
        confidence: The probability of ``suggested`` by a model that did not see the label; None if there is none.
        reason: In words.
    """

    row: int
    label: str
    suggested: str
    confidence: float | None
    reason: str


def doubts_of(project: Project) -> tuple[list[Doubt], float]:
    """Return the labels to look at again, and which part of all labels the models agree with.

    First those that the models doubt, the least likely first, then those with different answers.

    A label is doubted if the model that was trained on the other parts of the labels prefers another class, with more
    than that class's mean confidence in its own samples (confident learning: Northcutt, Jiang & Chuang 2021).

    Raises:
        InputError: If there are fewer than `FEWEST_LABELS` labels or two classes.
    """
    state, classes = project.state, project.classes
    if len(state.labels) < FEWEST_LABELS or len(set(state.labels.values())) < 2:
        raise InputError(f"{project.path}: a review needs {FEWEST_LABELS} labels of two classes; label more first")
    rows = np.fromiter(state.labels, np.int64, len(state.labels))
    number = {name: position for position, name in enumerate(classes)}
    labels = np.array([number[label] for label in state.labels.values()])
    probabilities = held_out_probabilities(project, rows, labels)
    own = probabilities[np.arange(len(rows)), labels]
    judged = ~np.isnan(own)
    usual = np.array([
        own[judged & (labels == position)].mean() if (judged & (labels == position)).any() else 1.0
        for position in range(len(classes))
    ])  # fmt: skip
    best = probabilities.argmax(axis=1)
    sure = probabilities[np.arange(len(rows)), best]
    is_doubted = judged & (best != labels) & (sure >= usual[best])
    found = [position for position in np.argsort(own - sure, kind="stable") if is_doubted[position]]
    doubts = [
        Doubt(int(rows[position]), classes[labels[position]], classes[best[position]], float(sure[position]), "model")
        for position in found
    ]
    seen = {doubt.row for doubt in doubts}
    for row, history in state.history.items():
        # An answer that only got another name is none that was different.
        given = [one for one, later in zip(history, [*history[1:], None], strict=True)
                 if later is None or later.source != RENAMED]  # fmt: skip
        others = [answer.label for answer in given if answer.label not in (None, state.labels.get(row))]
        if row in state.labels and others and row not in seen:
            story = ", ".join(f"{answer.label or 'skip'} ({answer.source} {answer.at[:10]})" for answer in given)
            doubts.append(Doubt(row, state.labels[row], str(others[-1]), None, f"changed: {story}"))
    return doubts, float((best == labels)[judged].mean()) if judged.any() else 0.0


def held_out_probabilities(
    project: Project, rows: NDArray[np.int64], labels: NDArray[np.int64]
) -> NDArray[np.float32]:  # fmt: skip
    """Return class probabilities of labeled samples by models that did not see their labels, float32 (n, C).

    Those of a class's only sample are NaN: without its label no model knows the class.

    Args:
        project: The project.
        rows: Of the samples.
        labels: Their class numbers.
    """
    samples, n_classes = samples_of(project), len(project.classes)
    plain = replace(project.settings, strategy="random", candidates=None, options={})
    folds = stratified_folds(labels, FOLDS, project.settings.seed)
    probabilities = np.full((len(rows), n_classes), np.nan, dtype=np.float32)
    for fold in np.unique(folds[folds >= 0]):
        held_out, is_kept = folds == fold, folds != fold
        learner = create_learner(plain, samples, n_classes)
        learner.tell(rows[is_kept], labels[is_kept])
        probabilities[held_out] = learner.predict_proba(samples.array[rows[held_out]])[:, :n_classes]
    return probabilities


def write_review(project: Project) -> tuple[Path, int, float]:
    """Write the labels to look at again as a CSV file that can be corrected and submitted, and a contact sheet.

    Returns:
        The CSV file, how many there are, and which part of all labels the models agree with.
    """
    doubts, agreement = doubts_of(project)
    path = project.path / CSV
    write_bytes(path, csv_for_people(COLUMNS, [
        (project.state.ids[doubt.row], doubt.label, doubt.suggested,
         "" if doubt.confidence is None else f"{doubt.confidence:.2f}", doubt.reason)
        for doubt in doubts
    ]))  # fmt: skip
    notes = {doubt.row: f"{doubt.label}, or {doubt.suggested}?" for doubt in doubts}
    rows = [doubt.row for doubt in doubts]
    lead = f"Where a label is wrong, correct it in {CSV}, then submit that file."
    write_bytes(project.path / PAGE, contact_sheet(project, rows, "Labels to look at again", lead, notes))
    return path, len(doubts), agreement
