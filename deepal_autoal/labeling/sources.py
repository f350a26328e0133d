"""The data of a project where they are: found, and checked against what was recorded. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepal_autoal.errors import InputError
from deepal_autoal.files import checksum_of_file
from deepal_autoal.labeling.data import FILES, Source, read_source
from deepal_autoal.labeling.project import Project, SourceRecord, command

if TYPE_CHECKING:
    from numpy.typing import NDArray


def texts_of(project: Project) -> list[str]:
    """Return a project's texts, in order."""
    return [text for source in project.state.sources for text in checked_source(project, source).texts]


def checked_source(project: Project, source: SourceRecord) -> Source:
    """Read a source of texts or arrays again.

    Raises:
        InputError: If it is missing or changed.
    """
    path = project.locate(source)
    if checksum_of_file(path) != source.fingerprint:
        raise InputError(
            f"{path} was changed since it was added to {project.path}; put the old file back, and give new samples in "
            f"a file of their own: {command('add', project.path)} FILE"
        )
    return read_source(path)


def check_sources(project: Project) -> None:
    """Check that the data are where they were; image files also by their sizes.

    Raises:
        InputError: If not.
    """
    for source in project.state.sources:
        if project.settings.form == FILES:
            check_files(project, source)
        else:
            project.locate(source)


def check_files(project: Project, source: SourceRecord) -> None:
    """Check that a source's image files are there, and have the sizes that they had.

    Raises:
        InputError: If some are missing or changed; names the first.
    """
    folder = files_folder(project, source)
    missing, changed = [], []
    for name, size in zip(source.ids, source.sizes, strict=True):
        try:
            if (folder / name).stat().st_size != size:
                changed.append(name)
        except OSError:
            missing.append(name)
    if missing:
        raise InputError(
            f"{len(missing)} of {source.size} image files in {folder} are missing, such as {missing[0]}; put them back "
            f"or say where they are with: {command('init', project.path)} --data PATH"
        )
    if changed:
        raise InputError(
            f"{len(changed)} of {source.size} image files in {folder} were changed since they were added to "
            f"{project.path}, such as {changed[0]}; put the old files back, and add new ones under names of their own"
        )


def files_folder(project: Project, source: SourceRecord) -> Path:
    """Return the folder that the paths of a source's image files are relative to."""
    path = project.locate(source)
    return path if path.is_dir() else path.parent


def check_alike(arrays: Sequence[NDArray[Any]], paths: Sequence[Path]) -> None:
    """Refuse arrays whose samples differ in form from the first's.

    Raises:
        InputError: If they do.
    """
    for array, path in zip(arrays[1:], paths[1:], strict=True):
        first = arrays[0]
        if array.shape[1:] != first.shape[1:] or (array.ndim == 4) != (first.ndim == 4):
            raise InputError(
                f"{path} holds samples of shape {array.shape[1:]}, but those of the project have {first.shape[1:]}"
            )
