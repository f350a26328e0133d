"""Projects begin here, and their data are added to or found again."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepal_autoal.datasets.files.bad_files import first_files
from deepal_autoal.datasets.files.image_size import image_size_text, read_image_size
from deepal_autoal.errors import InputError, error_message
from deepal_autoal.experiment.auditing import check_audit
from deepal_autoal.experiment.default_embedding import BETTER, choose_embedding
from deepal_autoal.files import LOCK, checksum_of_file, remove_leftovers
from deepal_autoal.labeling.data import (
    FILES,
    TEXTS,
    Source,
    check_class_name,
    composed,
    fingerprint_of,
    read_source,
    spelled_alike,
)
from deepal_autoal.labeling.learning import choose_strategy, create_learner
from deepal_autoal.labeling.pool import image_sizes, samples_of, usual_size
from deepal_autoal.labeling.project import (
    SAMPLES,
    SETTINGS,
    Project,
    ProjectSettings,
    SourceRecord,
    command,
    is_begun,
    locked,
    place_of,
    write_settings,
    write_source,
)
from deepal_autoal.labeling.sources import check_alike, checked_source, files_folder
from deepal_autoal.labeling.submission import as_class
from deepal_autoal.models.names import AUTO, PATCHES, read_model
from deepal_autoal.numerics.devices import resolve_device
from deepal_autoal.plugins.references import absolute_reference
from deepal_autoal.run_settings import split_names

NONE = "none"
"""What is written for no embedding."""

logger = logging.getLogger(__name__)


def start_project(
    folder: Path, data: Path, *, classes: tuple[str, ...] | None = None, strategy: str | None = None,
    candidates: str | None = None, options: Mapping[str, str] | None = None, model: str = "auto",
    embed: str | None = None, image_size: str | None = None, batch_size: int = 20, seed: int = 0, device: str = "auto",
    audit: float = 0.1, skip_bad: bool = False,
) -> tuple[Project, str]:  # fmt: skip
    """Start a project.

    Args:
        folder: The project's folder, new or empty.
        data: What is to be labeled (see `read_source`).
        classes: Their names, if they are known; otherwise they appear while labeling.
        strategy: Name of the query strategy; by default the one that `choose_strategy` finds.
        candidates: Of a selector.
        options: Of the strategy.
        model: Name of the task model.
        embed: Name of a model whose embeddings stand for images, or, for texts, a model of sentence-transformers;
            ``auto`` for what `choose_embedding` finds for images, ``none`` for none. By default ``auto``, or, if a
            model is named, ``none``.
        image_size: Size that image files are brought to; by default see `usual_size`.
        batch_size: Samples in a batch.
        seed: Of everything random.
        device: Where models are trained.
        audit: The share of each batch that is audited; 0 for none.
        skip_bad: Whether to go on without image files that cannot be used.

    Returns:
        The project, and why it has the embedding that was chosen for it, or none; empty if nothing was chosen.

    Raises:
        InputError: If the folder holds anything else, or the data or a setting cannot be used; nothing is left then.
        RunFolderError: If the folder cannot be written.
    """
    if batch_size < 1:
        raise InputError(f"--batch-size {batch_size}: a batch has at least one sample")
    share, _ = check_audit(audit, None)
    _refuse_begun(folder)
    classes = None if classes is None else tuple(map(composed, classes))
    _check_classes(classes)
    _check_apart(folder, data)
    # Before the images are read, which takes long.
    resolve_device(device)
    if embed is not None and data.is_dir():
        _check_embedding(embed)
    source = read_source(data, classes, skip_bad=skip_bad)
    _check_labels(data, source, classes)
    if None not in source.labels:
        names = ", ".join(sorted({label for label in source.labels if label is not None})[:5])
        hint = "; if folders are no classes, name those with --classes" if source.form == FILES else ""
        raise InputError(
            f"{data}: every sample has a label already ({names}), so there is nothing to label: add samples without one"
            f" (images: in a folder called unlabeled){hint}"
        )
    size = image_size_text(image_size)
    if size is not None and source.form != FILES:
        raise InputError(f"--image-size {image_size}: {data} does not consist of image files; leave it out")
    choices = _embeddings(source, embed or (AUTO if model == AUTO else NONE), size)
    words = None if candidates is None else ",".join(map(absolute_reference, split_names(candidates)))
    settings = ProjectSettings(absolute_reference(strategy or ""), words, dict(options or {}),
                               absolute_reference(model), None, size, classes, batch_size, seed, device, source.form,
                               share)  # fmt: skip
    is_new = not os.path.lexists(folder)
    with locked(folder):
        _refuse_begun(folder)  # by another process meanwhile
        try:
            return _write(folder, data, source, settings, choices)
        except BaseException:
            _remove(folder)
            raise
        finally:
            if is_new and not (folder / SETTINGS).exists():
                with suppress(OSError):
                    (folder / LOCK).unlink(missing_ok=True)
                    folder.rmdir()


def _refuse_begun(folder: Path) -> None:
    if is_begun(folder):
        raise InputError(f"{folder} is a labeling project already; go on with: {command('next', folder)}")


@dataclass(frozen=True)
class _Embedding:
    """What may stand for the samples.

    Attributes:
        model: The model; None for none.
        image_size: The size that image files are brought to.
        reason: Why it was chosen; empty if it was asked for.
    """

    model: str | None
    image_size: str | None
    reason: str = ""


def _embeddings(source: Source, embed: str, size: str | None) -> list[_Embedding]:
    """Return the embedding to use, and, if it is ours to choose, what to use if it cannot be learned."""
    sizes = []
    if source.form == FILES and source.folder is not None and source.ids is not None:
        sizes = image_sizes(source.folder, source.ids)

    def of(model: str | None, reason: str = "") -> _Embedding:
        return _Embedding(model, size or (usual_size(sizes, model) if sizes else None), reason)

    is_image = bool(sizes) or (source.array is not None and source.array.ndim == 4)
    word = embed.casefold()
    if word == NONE or (word == AUTO and not is_image):
        return [of(None)]
    if word != AUTO:
        return [of(_embedding_path(embed) or embed)]
    if source.array is not None:
        height, width = source.array.shape[1:3]
    else:
        height, width = read_image_size(size) or (
            int(np.median([one[1] for one in sizes])), int(np.median([one[0] for one in sizes])))  # fmt: skip
    chosen = choose_embedding(height, width, f"--embed '{BETTER}'")
    return [of(chosen.model, chosen.reason), of(None, "none, the pixels themselves")]


def _check_embedding(embed: str) -> None:
    """Raise an InputError if it is neither a word, nor a run or dictionary of patches, nor a known model."""
    if embed != PATCHES and embed.casefold() not in (AUTO, NONE) and _embedding_path(embed) is None:
        read_model(embed)


def _embedding_path(embed: str) -> str | None:
    """Return the absolute path of a run or a dictionary of patches, for commands called elsewhere; None for a name."""
    path = os.path.abspath(os.path.expanduser(embed))
    return path if os.path.isdir(path) or (path.endswith(".npz") and os.path.isfile(path)) else None


def _write(
    folder: Path, data: Path, source: Source, settings: ProjectSettings, choices: Sequence[_Embedding]
) -> tuple[Project, str]:  # fmt: skip
    event = write_source(folder, 1, data, source.ids, source.labels, source.sizes, fingerprint_of(data, source))
    reason = ""
    for choice in choices:
        settings = replace(settings, embed=choice.model, image_size=choice.image_size)
        draft = Project.draft(folder, settings)
        draft.apply({"event": "data", "at": "", **event})
        try:
            samples = samples_of(draft)
        except InputError as error:
            if choice is choices[-1] or choice.model != PATCHES:
                raise
            reason = f", as {error_message(error).partition(';')[0]}"
        else:
            reason = choice.reason + reason
            break
    n_classes = len(draft.classes)
    if not settings.strategy:
        chosen = choose_strategy(
            samples, n_classes, settings.batch_size, settings.model, settings.seed, settings.device
        )
        settings = replace(settings, strategy=chosen)
    learner = create_learner(settings, samples, n_classes, audit=settings.audit)
    learner.new_module()  # or say why there is none
    if settings.model == AUTO:
        settings = replace(settings, model=learner.model_name)
    write_settings(folder, settings)
    project = Project.draft(folder, settings)
    project.add_event("data", **event)
    _warn_of_left_out(data, source)
    _warn_of_names_alike(project)
    return project, reason


def _remove(folder: Path) -> None:
    """Remove what a start that failed has written."""
    remove_leftovers([*(folder / "embeddings").glob("*.npz"), folder / SAMPLES / "1.json", folder / SETTINGS])
    for name in (SAMPLES, "embeddings"):
        with suppress(OSError):
            (folder / name).rmdir()


def add_data(project: Project, data: Path, skip_bad: bool = False) -> int:
    """Add samples, and return how many; image files that the project has already are passed over.

    Args:
        project: Must be locked (see `Project.changing`).
        data: Of the form that the project's samples have.
        skip_bad: Whether to go on without image files that cannot be used.

    Raises:
        InputError: If the data cannot be used together with the others, or hold nothing new.
    """
    _check_apart(project.path, data)
    before = project.classes
    classes = project.settings.classes and tuple(project.classes)
    source = read_source(data, classes, skip_bad=skip_bad)
    names = {label: as_class(project, label) for label in set(source.labels) if label}
    source = replace(source, labels=[label and names[label] for label in source.labels])
    _check_labels(data, source, classes)
    if source.form != project.settings.form:
        raise InputError(f"{data} holds {source.form}, but those of {project.path} are {project.settings.form}")
    if source.form == FILES:
        source = _new_files(project, data, source)
        _check_sizes(project, source)
    elif any(_is_at(project, known, data) and _is_same(project, known, data) for known in project.state.sources):
        raise InputError(f"{data} is in the project already; put new samples into a file of their own")
    elif source.form != TEXTS and source.array is not None:
        first = checked_source(project, project.state.sources[0]).array
        if first is not None:
            check_alike([first, source.array], [data, data])
    project.add_source(data, source.form, source.ids, source.labels, source.sizes, fingerprint_of(data, source))
    _warn_of_left_out(data, source)
    if project.classes != before:
        _warn_of_names_alike(project)
    return len(source)


def find_data(project: Project, data: Path) -> bool:
    """Record a new place of all sources of data that are there, recognized by their fingerprints.

    Args:
        project: Must be locked (see `Project.changing`).
        data: The place.

    Returns:
        Whether it is new for one of them.

    Raises:
        InputError: If no source of the project is there.
    """
    found = [source for source in project.state.sources if _is_same(project, source, data)]
    if not found:
        raise InputError(
            f"{project.path} is a labeling project already, and {data} does not hold its data; add new samples with: "
            f"{command('add', project.path)} PATH; or name a new folder for another project"
        )
    moved = [source for source in found if not _is_at(project, source, data)]
    for source in moved:
        project.add_event("moved", number=source.number, **place_of(project.path, data))
    return bool(moved)


def _is_at(project: Project, source: SourceRecord, data: Path) -> bool:
    """Return whether a source's data are at a place: a file, or the folder of image files or of their table."""
    try:
        if project.settings.form != FILES:
            return os.path.realpath(project.locate(source)) == os.path.realpath(data)
        folder = data if data.is_dir() else data.parent
        return os.path.realpath(files_folder(project, source)) == os.path.realpath(folder)
    except InputError:
        return False


def _is_same(project: Project, source: SourceRecord, data: Path) -> bool:
    if not data.exists():
        raise InputError(f"there is no file or folder {data}")
    if project.settings.form != FILES:
        return data.is_file() and checksum_of_file(data) == source.fingerprint
    folder = data if data.is_dir() else data.parent
    try:
        return all((folder / name).stat().st_size == size for name, size in zip(source.ids, source.sizes, strict=True))
    except OSError:
        return False


def _new_files(project: Project, data: Path, source: Source) -> Source:
    """Return a source without the files that are in the project; files of another folder must have other names."""
    folder = os.path.realpath(source.folder or data)
    ids = source.ids or []
    known = {
        os.path.normpath(name)
        for record in project.state.sources
        if os.path.realpath(files_folder(project, record)) == folder
        for name in record.ids
    }
    kept = [row for row, name in enumerate(ids) if os.path.normpath(name) not in known]
    if not kept:
        raise InputError(f"{data} holds no image that {project.path} does not have already")
    return replace(source, ids=[ids[row] for row in kept], labels=[source.labels[row] for row in kept],
                   sizes=[source.sizes[row] for row in kept])  # fmt: skip


def _check_sizes(project: Project, source: Source) -> None:
    """Check that new image files have the size of the others where none is brought to another."""
    if project.settings.image_size is not None or source.folder is None:
        return
    from PIL import Image

    first = project.state.sources[0]
    with Image.open(files_folder(project, first) / first.ids[0]) as image:
        expected = image.size
    for name in source.ids or ():
        with Image.open(source.folder / name) as image:
            size = image.size
        if size != expected:
            raise InputError(
                f"{source.folder / name} is {size[0]}x{size[1]} pixels, but all images of {project.path} are "
                f"{expected[0]}x{expected[1]}; bring it to this size, or start a new project with --image-size"
            )


def _check_classes(classes: tuple[str, ...] | None) -> None:
    if classes is None:
        return
    for name in classes:
        check_class_name(name, "--classes")
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise InputError(f"--classes {','.join(classes)}: give two or more different names, separated by commas")


def _check_labels(data: Path, source: Source, classes: tuple[str, ...] | None) -> None:
    unknown = sorted({label for label in source.labels if label is not None} - set(classes or ())) if classes else []
    if classes and unknown:
        raise InputError(
            f"{data}: the label {unknown[0]!r} is not one of the classes {', '.join(classes[:20])}; correct it, or "
            "name it with --classes"
        )


def _warn_of_names_alike(project: Project) -> None:
    for one, other in spelled_alike(project.classes):
        logger.warning(
            "%r and %r are spelled alike, and are two classes; if they are one: %s",
            one, other, command("classes", project.path, "--rename", other, one),
        )  # fmt: skip


def _check_apart(folder: Path, data: Path) -> None:
    if data.is_dir() and Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(data)):
        raise InputError(f"the project {folder} would be inside the data {data}; choose a folder beside them")


def _warn_of_left_out(data: Path, source: Source) -> None:
    if source.left_out:
        logger.warning("%s: %d files are left out: %s", data, len(source.left_out), first_files(source.left_out))
