"""Classes that were named or confirmed by mistake: given another name, or removed; the history of answers stays."""

from __future__ import annotations

from deepal_autoal.errors import InputError, UnknownNameError, counted
from deepal_autoal.labeling.data import check_class_name, composed
from deepal_autoal.labeling.project import Project, command
from deepal_autoal.labeling.submission import as_class, take

RENAMED = "rename"
"""Where answers come from that only have another name, in the journal."""


def rename_class(project: Project, old: str, new: str) -> int:
    """Give a class another name, and return how many samples have it; the name of another class makes them one.

    Each sample gets an answer with the new name, and the old one stays in its history.

    Args:
        project: Must be locked (see `Project.changing`).
        old: The class.
        new: Its name from now on.

    Raises:
        InputError: If there is no such class, or it cannot be called so.
    """
    old, found = as_class(project, old), as_class(project, new)
    # The class itself in another Unicode form gets this one; what is another class in any form is that class.
    new = composed(new) if found == old != new else found
    _check_known(project, old)
    if new == old:
        raise InputError(f"--rename {old} {new}: give two different names")
    check_class_name(new, "--rename")
    # First the name, which then keeps its place among the classes. After a kill in between, a repetition goes on.
    if old in project.state.known_classes:
        project.add_event("renamed", old=old, new=new)
    rows = _rows_of(project, old)
    take(project, dict.fromkeys(rows, new), RENAMED)
    return len(rows)


def remove_class(project: Project, name: str) -> None:
    """Remove a class that no sample has.

    Args:
        project: Must be locked (see `Project.changing`).
        name: The class.

    Raises:
        InputError: If there is no such class, or a sample has it.
    """
    name = as_class(project, name)
    _check_known(project, name)
    if rows := _rows_of(project, name):
        raise InputError(
            f"--remove {name}: {counted(len(rows), 'label')} would be lost; correct them first, or give them another "
            f"class with: {command('classes', project.path, '--rename', name)} OTHER"
        )
    project.add_event("renamed", old=name, new=None)


def _check_known(project: Project, name: str) -> None:
    if name not in project.classes:
        raise UnknownNameError("class", name, project.classes)


def _rows_of(project: Project, name: str) -> list[int]:
    return [row for row, label in project.state.labels.items() if label == name]
