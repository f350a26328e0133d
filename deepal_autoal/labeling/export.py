"""Labels and predictions as files: CSV, ``.npz``, a tree of class folders; for other tools see their modules."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from deepal_autoal.datasets.files.npz_writer import write_npz
from deepal_autoal.datasets.user_data.npz import EMBEDDINGS
from deepal_autoal.errors import InputError
from deepal_autoal.files import TEMPORARY_SUFFIX, check_output, csv_for_people, is_marked, write_bytes
from deepal_autoal.labeling import cvat, label_studio
from deepal_autoal.labeling.data import FILES, TEXTS
from deepal_autoal.labeling.learning import Learning
from deepal_autoal.labeling.pool import samples_of
from deepal_autoal.labeling.predictions import Labeled, labels_of
from deepal_autoal.labeling.project import Project, command
from deepal_autoal.labeling.sources import check_files, files_folder
from deepal_autoal.user_paths import LONGEST_NAME, why_not_created

CSV_COLUMNS = ("id", "label", "source")
FORMATS = ("csv", "folder", "npz", "label-studio", "cvat")
# What the format is if only the file's name says so.
_SUFFIXES = {".csv": "csv", ".npz": "npz", ".json": "label-studio", ".xml": "cvat", ".zip": "cvat", "": "folder"}
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f]|^\.|[. ]$')


def export_project(project: Project, out: Path, form: str | None = None, predictions: bool = False) -> int:
    """Write a project's labels, and return how many samples were written.

    Args:
        project: Must be locked with ``predictions`` (see `Project.changing`), as a model may be trained.
        out: The file, or a new folder. A file that this function wrote is replaced.
        form: One of `FORMATS`; by default by the suffix of ``out``.
        predictions: Whether samples without a label get a model's, each with its confidence.

    Raises:
        InputError: If there is nothing to export, the format does not suit the samples, something else is at ``out``,
            or a file cannot be read.
        RunFolderError: If it cannot be written.
    """
    form = form or _SUFFIXES.get(out.suffix.lower())
    if form is None:
        raise InputError(f"--out {out}: say which --format: {', '.join(FORMATS)}")
    if form in ("folder", "cvat") and project.settings.form != FILES:
        raise InputError(f"--format {form} is for image files, which the samples of {project.path} are not; use csv")
    if form == "folder" and os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"--out {out} exists and is not an empty folder; name a new one")
    if form == "folder":
        _check_apart(project, out)
    else:
        check_output(out, _IS_OURS[form])
    learning = Learning(project) if predictions else None
    labeled = labels_of(project, learning)
    if not labeled and form != "label-studio":
        raise InputError(f"{project.path} has no labels yet; label some samples: {command('next', project.path)}")
    return _WRITERS[form](project, out, labeled, learning)


def _check_apart(project: Project, out: Path) -> None:
    """Refuse a folder of copies that would be data of the project itself, or that has no name of its own.

    Raises:
        InputError: If so.
    """
    if out.name in ("", ".."):
        raise InputError(f"--out {out}: name a new folder")
    for source in project.state.sources:
        folder = project.locate(source)
        if folder.is_dir() and Path(os.path.realpath(out)).is_relative_to(os.path.realpath(folder)):
            raise InputError(f"--out {out} would be inside the data {folder}; choose a folder beside them")


def _csv(project: Project, out: Path, labeled: Sequence[Labeled], learning: Learning | None) -> int:
    columns = (*CSV_COLUMNS, "confidence") if learning else CSV_COLUMNS
    rows = [
        (project.state.ids[item.row], item.label, item.source)
        + (() if item.confidence is None else (f"{item.confidence:.4f}",))
        for item in labeled
    ]
    _write(out, csv_for_people(columns, rows))
    return len(rows)


def _npz(project: Project, out: Path, labeled: Sequence[Labeled], learning: Learning | None) -> int:
    samples = learning.samples if learning else samples_of(project)
    classes = project.classes
    number = {name: position for position, name in enumerate(classes)}
    rows = np.array([item.row for item in labeled])
    arrays = {
        "x": np.asarray(samples.array[rows]), "y": np.array([number[item.label] for item in labeled]),
        "class_names": np.array(classes), "ids": np.array([project.state.ids[row] for row in rows]),
    }  # fmt: skip
    if project.settings.embed is not None or project.settings.form == TEXTS:
        arrays["kind"] = np.array(EMBEDDINGS)
    if learning is not None:
        arrays["confidence"] = np.array([item.confidence for item in labeled], dtype=np.float32)
        arrays["source"] = np.array([item.source for item in labeled])
    write_npz(out, arrays)
    return len(rows)


def _is_own_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            return names[:4] == ["x", "y", "class_names", "ids"]
    except zipfile.BadZipFile:
        return False


def _folder(project: Project, out: Path, labeled: Sequence[Labeled], learning: Learning | None) -> int:
    for name in {item.label for item in labeled}:
        if _UNSAFE.search(name) or len(os.fsencode(name)) > LONGEST_NAME:
            raise InputError(f"--format folder: {name!r} cannot be the name of a folder on every system; use csv")
    places: dict[int, Path] = {}
    for source in project.state.sources:
        check_files(project, source)
        folder = files_folder(project, source)
        places |= {source.start + row: folder / name for row, name in enumerate(source.ids)}
    targets = _targets(project, labeled)
    aside = out.with_name(f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        for item, target in zip(labeled, targets, strict=True):
            (aside / item.label).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(places[item.row], aside / item.label / target)
        if out.exists():
            out.rmdir()
        os.rename(aside, out)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {why_not_created(out, error)}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return len(labeled)


def _targets(project: Project, labeled: Sequence[Labeled]) -> list[str]:
    """Return the file names in the class folders: those the files have, or of several equal ones whole paths."""
    names = [project.state.ids[item.row] for item in labeled]
    last = [PurePosixPath(name).name for name in names]
    # Without regard to case, as some file systems are.
    counts = Counter((item.label.casefold(), name.casefold()) for item, name in zip(labeled, last, strict=True))
    targets = [
        name if counts[item.label.casefold(), name.casefold()] == 1 else whole.replace("/", "__")
        for item, name, whole in zip(labeled, last, names, strict=True)
    ]
    keys = Counter((item.label.casefold(), name.casefold()) for item, name in zip(labeled, targets, strict=True))
    return [name if keys[item.label.casefold(), name.casefold()] == 1 else f"{item.row}-{name}"
            for item, name in zip(labeled, targets, strict=True)]  # fmt: skip


def _label_studio(project: Project, out: Path, labeled: Sequence[Labeled], learning: Learning | None) -> int:
    _write(out, label_studio.tasks(project, labeled))
    return len(project.state.ids)


def _cvat(project: Project, out: Path, labeled: Sequence[Labeled], learning: Learning | None) -> int:
    content = cvat.tagged_images(project, labeled)
    _write(out, cvat.zipped(content) if out.suffix.lower() == ".zip" else content)
    return len(project.state.ids)


def _write(out: Path, content: bytes) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {why_not_created(out.parent, error)}") from error
    write_bytes(out, content)


_WRITERS: dict[str, Callable[[Project, Path, Sequence[Labeled], Learning | None], int]] = {
    "csv": _csv, "npz": _npz, "folder": _folder, "label-studio": _label_studio, "cvat": _cvat,
}  # fmt: skip
_IS_OURS: dict[str, Callable[[Path], bool]] = {
    "csv": partial(is_marked, mark=",".join(CSV_COLUMNS).encode()), "npz": _is_own_npz, "cvat": partial(is_marked,
    mark=cvat.MARK), "label-studio": label_studio.is_ours,
}  # fmt: skip
