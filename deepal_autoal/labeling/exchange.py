"""Labels from other tools into a project."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from deepal_autoal.errors import InputError
from deepal_autoal.labeling.cvat import read_tags
from deepal_autoal.labeling.data import SKIP
from deepal_autoal.labeling.label_studio import read_annotations
from deepal_autoal.labeling.matching import Matcher
from deepal_autoal.labeling.project import Project, command
from deepal_autoal.labeling.submission import as_class, check_label

LABEL_STUDIO, CVAT = "label-studio", "cvat"


def read_exchange(
    project: Project, path: Path, new_classes: Collection[str] = ()
) -> tuple[dict[int, str | None], str]:  # fmt: skip
    """Return the answers in another tool's file, by row, and the tool.

    Args:
        project: Whose samples they are.
        path: An export of Label Studio (``.json``) or CVAT (``.xml``, ``.zip``).
        new_classes: Names that may be new classes.

    Raises:
        InputError: If it is no such file, or a sample or label in it cannot be used; the message says where.
    """
    suffix = path.suffix.lower()
    if suffix not in (".json", ".xml", ".zip"):
        hint = f"; labels from a CSV file: {command('submit', project.path, path)}" if suffix == ".csv" else ""
        raise InputError(f"{path} is no export of Label Studio (.json) or CVAT (.xml, .zip){hint}")
    tool = LABEL_STUDIO if suffix == ".json" else CVAT
    matcher = Matcher(project)
    answers: dict[int, str | None] = {}
    written: dict[str, str] = {}
    for where, names, label in read_annotations(path) if tool == LABEL_STUDIO else read_tags(path):
        row = matcher.row(names)
        if row is None:
            shown = names[0][:80] if names else "no name"
            raise InputError(f"{where}: {shown!r} is no sample of {project.path}, or of several samples the file name")
        if label is not None and label.casefold() == SKIP:
            label = None
        if label is not None:
            if label not in written:  # once each, as it takes a look at all labels
                name = as_class(project, label)
                check_label(project, name, where, new_classes)
                written[label] = name
            label = written[label]
        if answers.get(row, label) != label:
            raise InputError(f"{where}: {project.state.ids[row]} is listed twice, with different labels; keep one")
        answers[row] = label
    if not answers:
        raise InputError(f"{path} holds no labels; label some there first")
    return answers, tool
