"""The labels of a project as they are exported: a person's, and a model's for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepal_autoal.labeling.project import Project

if TYPE_CHECKING:
    from deepal_autoal.labeling.learning import Learning

PERSON, MODEL = "person", "model"


@dataclass(frozen=True)
class Labeled:
    """A sample with a label.

    Attributes:
        row: Of the sample.
        label: The class.
        source: `PERSON` or `MODEL`.
        predicted: What the model says; None without predictions.
        confidence: The model's probability of ``label``; likewise.
        predicted_confidence: That of ``predicted``; likewise.
    """

    row: int
    label: str
    source: str
    predicted: str | None = None
    confidence: float | None = None
    predicted_confidence: float | None = None


def labels_of(project: Project, learning: Learning | None = None) -> list[Labeled]:
    """Return the labels that persons gave, by row; with a model, labels of all samples.

    Args:
        project: The project.
        learning: Its model's, for predictions.

    Raises:
        InputError: If there are not enough labels for a model.
    """
    known = project.state.labels
    if learning is None:
        return [Labeled(row, known[row], PERSON) for row in sorted(known)]
    probabilities, classes = learning.probabilities(), project.classes
    number = {name: position for position, name in enumerate(classes)}
    best = probabilities.argmax(axis=1)
    labeled = []
    for row in range(len(project.state.ids)):
        predicted = classes[best[row]]
        label = known.get(row, predicted)
        labeled.append(
            Labeled(row, label, PERSON if row in known else MODEL, predicted,
                    float(probabilities[row, number[label]]), float(probabilities[row, best[row]]))
        )  # fmt: skip
    return labeled
