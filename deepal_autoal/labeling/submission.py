"""Answers on their way into a project: checked as a whole, then taken as one event, or not at all."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deepal_autoal.datasets.files.tables import Table, is_cut_off, read_csv
from deepal_autoal.errors import InputError, counted
from deepal_autoal.files import without_prefix
from deepal_autoal.labeling.data import SKIP, check_class_name, composed, plain_name
from deepal_autoal.labeling.predictions import MODEL, PERSON
from deepal_autoal.labeling.project import Project

# How alike names must be: a letter more, less or changed in seven, as difflib counts.
_ALIKE = 0.85


@dataclass(frozen=True)
class Taken:
    """What became of answers.

    Attributes:
        new: Labels of samples that had none.
        corrected: Labels that replaced another answer.
        skipped: Samples that cannot be labeled.
        unchanged: Answers that were known already.
        classes: Names that are classes from now on.
        alike: Of these, those that may be typing errors, each with the class that may be meant.
    """

    new: int = 0
    corrected: int = 0
    skipped: int = 0
    unchanged: int = 0
    classes: tuple[str, ...] = ()
    alike: tuple[tuple[str, str], ...] = ()

    @property
    def is_change(self) -> bool:
        """Whether anything was new."""
        return bool(self.new or self.corrected or self.skipped)


def read_answers(project: Project, path: Path, new_classes: Collection[str] = ()) -> dict[int, str | None]:
    """Return the answers in a CSV file with the columns ``id`` and ``label``, by row; None for `SKIP`.

    Rows with an empty label are left out, and so are other columns.

    Args:
        project: Whose samples they are.
        path: The file.
        new_classes: Names that may be new classes.

    Raises:
        InputError: If the file is not such a table, or an id or a label in it cannot be used; the message names the
            line.
    """
    table = read_csv(path)
    missing = [name for name in ("id", "label") if name not in table.names]
    if missing:
        raise InputError(f"{path}: the first line must name the columns id and label; it lacks {' and '.join(missing)}")
    _refuse_predictions(table)
    answers: dict[int, str | None] = {}
    first: dict[int, str] = {}
    written: dict[str, str | None] = {}
    for position, (name, label) in enumerate(zip(table.texts("id"), table.texts("label"), strict=True)):
        where = table.where(position)
        if not name:
            raise InputError(f"{where}: the id is empty; write the sample's, or remove the row")
        try:
            row = project.row(name)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if row in first:
            raise InputError(f"{where}: {name} is listed a second time (first: {first[row]}); keep one of the rows")
        first[row] = where
        if label:
            if label not in written:  # once each, as it takes a look at all labels
                # A spreadsheet's apostrophe in front of what looks like a formula.
                plain = as_class(project, label if label in project.classes else without_prefix(label))
                check_label(project, plain, where, new_classes)
                written[label] = None if plain.casefold() == SKIP else plain
            answers[row] = written[label]
    if table.names and len(table) and is_cut_off(path):
        last = as_class(project, table.texts("label")[-1])
        if last and last.casefold() != SKIP and last not in (*project.classes, *map(composed, new_classes)):
            raise InputError(
                f"{table.where(len(table) - 1)}: the file ends within this line, and {last!r} is no class yet; it may "
                "have been cut off: save it again, with a line break at its end"
            )
    return answers


def _refuse_predictions(table: Table) -> None:
    """Refuse an export with predictions that nobody has looked at, as they would become a person's labels.

    Raises:
        InputError: If so; names the first.
    """
    if "source" not in table.names:
        return
    rows = [row for row, source in enumerate(table.texts("source")) if source.casefold() == MODEL]
    if rows:
        raise InputError(
            f"{table.where(rows[0])}: {counted(len(rows), 'label')} of a model, by the column source; write {PERSON} "
            "there if you have checked a label, and remove the other rows"
        )


def as_class(project: Project, label: str) -> str:
    """Return a label as the class of this name is written, whatever its accents are made of; a new one composed."""
    classes = project.classes
    name = composed(label)
    return label if label in classes else next((other for other in classes if composed(other) == name), name)


def check_label(project: Project, label: str, where: str, new_classes: Collection[str] = ()) -> None:
    """Refuse a label that is no class, or hardly a new one.

    Args:
        project: Its classes are known.
        label: As written.
        where: For the message.
        new_classes: Names that may be new classes.

    Raises:
        InputError: If it cannot be taken.
    """
    known = project.classes
    if label in known or label.casefold() == SKIP:
        return
    check_class_name(label, where)
    doubt = None if label in map(composed, new_classes) else doubt_about(project, label)
    if doubt is not None:
        raise InputError(f"{where}: {doubt} Correct it, or, if it is a class of its own, add --new-class {label!r}")


def doubt_about(project: Project, label: str) -> str | None:
    """Return why a label that is no class yet may be a mistake, in a sentence; None if nothing suggests that."""
    known = project.classes
    alike = [name for name in known if plain_name(name) == plain_name(label)]
    if alike:
        return f"{label!r} is written {alike[0]!r} elsewhere."
    if project.settings.classes is None:
        return None
    near = difflib.get_close_matches(label, known, n=3, cutoff=0.6)
    which = f"did you mean {' or '.join(near)}?" if near else f"classes are {', '.join(known[:20])}."
    return f"{label!r} is no class of this project; {which}"


def much_alike(
    names: Iterable[str], known: Collection[str], confirmed: Collection[str] = ()
) -> Iterator[tuple[str, str]]:  # fmt: skip
    """Yield new names that may be typing errors, each with the earlier one that may be meant.

    Numbered classes, such as ``type 1`` and ``type 2``, are no errors.

    Args:
        names: The new ones.
        known: Those that were there.
        confirmed: New ones that are no errors.
    """
    earlier = list(known)
    for name in names:
        near = difflib.get_close_matches(name, earlier, n=1, cutoff=_ALIKE)
        if near and name not in map(composed, confirmed) and _without_digits(name) != _without_digits(near[0]):
            yield name, near[0]
        earlier.append(name)


def _without_digits(name: str) -> str:
    return "".join(character for character in name if not character.isdigit())


def take(
    project: Project, answers: Mapping[int, str | None], source: str, new_classes: Collection[str] = ()
) -> Taken:  # fmt: skip
    """Write answers into the journal: those that change something, in one event.

    Args:
        project: Must be locked (see `Project.changing`).
        answers: Class by row; None for a sample that cannot be labeled.
        source: Where they come from, such as ``csv``.
        new_classes: Names that may be new classes.

    Raises:
        RunFolderError: If they cannot be written; then none is taken.
    """
    state = project.state
    changed = {
        row: label
        for row, label in answers.items()
        if (row not in state.skipped if label is None else state.labels.get(row) != label)
    }
    before = set(project.classes)
    used = dict.fromkeys(label for label in changed.values() if label is not None and label not in before)
    if project.settings.classes is not None and used:
        project.add_event("classes", names=list(used))
    corrected = sum(label is not None and row in state.history for row, label in changed.items())
    skipped = sum(label is None for label in changed.values())
    taken = Taken(
        len(changed) - corrected - skipped, corrected, skipped, len(answers) - len(changed), tuple(used),
        tuple(much_alike(used, before, new_classes)),
    )  # fmt: skip
    if changed:
        project.add_event("answers", source=source, answers={state.ids[row]: label for row, label in changed.items()})
    return taken
