"""CVAT's formats for classified images: "CVAT for images 1.1" with tags, out and back, and "ImageNet 1.0", back only.

See https://docs.cvat.ai/docs/other/xml_format.
"""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from deepal_autoal.datasets.files.decoding import IMAGE_SUFFIXES
from deepal_autoal.errors import InputError, error_message, without_controls
from deepal_autoal.files import read_bytes
from deepal_autoal.labeling.predictions import PERSON, Labeled
from deepal_autoal.labeling.project import Project
from deepal_autoal.labeling.sources import check_files, files_folder

ANNOTATIONS = "annotations.xml"
MARK = b"written by deepal_autoal"
_MOST_BYTES = 1 << 30
_NO_LABEL = frozenset({"no_label", "__no_label__"})
# What CVAT calls annotations that no person has made or changed.
_BY_MODEL = "auto"

logger = logging.getLogger(__name__)


def tagged_images(project: Project, labeled: Sequence[Labeled]) -> bytes:
    """Return all image files with their tags; a model's have the source ``auto``.

    Args:
        project: Of image files.
        labeled: What `labels_of` returned.

    Raises:
        InputError: If a file is missing, or is no image any more.
    """
    from PIL import Image, UnidentifiedImageError

    known = {item.row: item for item in labeled}
    root = ElementTree.Element("annotations")
    root.append(ElementTree.Comment(f" {MARK.decode()} "))
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    for name, text in (("name", project.path.name), ("size", str(len(project.state.ids))), ("mode", "annotation")):
        ElementTree.SubElement(task, name).text = without_controls(text)
    labels = ElementTree.SubElement(task, "labels")
    for name in project.classes:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "type").text = "tag"
    for source in project.state.sources:
        check_files(project, source)
        folder = files_folder(project, source)
        for row, name in enumerate(source.ids, source.start):
            try:
                with Image.open(folder / name) as opened:
                    width, height = opened.size
            except (OSError, UnidentifiedImageError) as error:
                raise InputError(f"{folder / name} is not an image that can be read; put the old file back") from error
            image = ElementTree.SubElement(root, "image", id=str(row), name=without_controls(name), width=str(width),
                                           height=str(height))  # fmt: skip
            item = known.get(row)
            if item is not None:
                origin = "manual" if item.source == PERSON else _BY_MODEL
                ElementTree.SubElement(image, "tag", label=item.label, source=origin)
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def zipped(content: bytes) -> bytes:
    """Return annotations as the archive that CVAT uploads."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(ANNOTATIONS, content)
        opened.comment = MARK
    return archive.getvalue()


def read_tags(path: Path) -> list[tuple[str, list[str], str | None]]:
    """Return what an export says: where, the sample's names, and its class. Images without a tag are left out.

    So are tags of a model, which no person has looked at; a warning says how many there are.

    Args:
        path: An ``.xml`` file, or a ``.zip`` with one or with a folder for each class.

    Raises:
        InputError: If the file is no such export, or an image has tags of several classes.
    """
    if path.suffix.lower() != ".zip":
        return _tags(path, read_bytes(path))
    try:
        with zipfile.ZipFile(path) as archive:
            inside = [info for info in archive.infolist() if PurePosixPath(info.filename).name == ANNOTATIONS]
            if not inside:
                return _by_folder(path, archive.namelist())
            if inside[0].file_size > _MOST_BYTES:
                raise InputError(f"{path}: {inside[0].filename} is larger than 1 GiB; split the export")
            content = archive.read(inside[0])
    except InputError:
        raise
    except Exception as error:  # a damaged archive raises anything
        raise InputError(f"{path} cannot be read as .zip ({error_message(error)}); export it again") from error
    return _tags(path, content)


def _tags(path: Path, content: bytes) -> list[tuple[str, list[str], str | None]]:
    if b"<!ENTITY" in content or b"<!DOCTYPE" in content:
        raise InputError(f"{path} defines entities, which no export of CVAT does; it is not read")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the latter: an encoding
        raise InputError(f"{path} cannot be read as XML ({error}); export it again") from error
    images = root.findall("image")
    if root.tag != "annotations" or not images:
        raise InputError(f'{path} lists no images; export the task from CVAT in the format "CVAT for images 1.1"')
    found: list[tuple[str, list[str], str | None]] = []
    n_by_model = 0
    for image in images:
        name = image.get("name", "")
        where = f"{path}, image {name}"
        tags = [tag for tag in image.findall("tag") if tag.get("source") != _BY_MODEL]
        n_by_model += not tags and image.find("tag") is not None
        labels = sorted({tag.get("label", "").strip() for tag in tags})
        if len(labels) > 1:
            raise InputError(f"{where}: it has tags of several classes ({', '.join(labels[:5])}); keep one there")
        if labels:
            found.append((where, [name], labels[0]))
    if n_by_model:
        logger.warning(
            "%s: tags of %d images are a model's (source %s) and are not taken; set them in CVAT again to take them",
            path, n_by_model, _BY_MODEL,
        )  # fmt: skip
    return found


def _by_folder(path: Path, members: Sequence[str]) -> list[tuple[str, list[str], str | None]]:
    """Return what "ImageNet 1.0" says: a folder for each class, whose name may begin the files' names too."""
    found: list[tuple[str, list[str], str | None]] = []
    for member in members:
        parts = PurePosixPath(member.replace("\\", "/"))
        if parts.suffix.lower() not in IMAGE_SUFFIXES or len(parts.parts) < 2 or parts.parts[0] in _NO_LABEL:
            continue
        label, name = parts.parts[0], "/".join(parts.parts[1:])
        names = [name, name.removeprefix(f"{label}_")]
        found.append((f"{path}, {member}", names, label))
    if not found:
        raise InputError(f'{path} holds no {ANNOTATIONS} and no class folders; export from CVAT "CVAT for images 1.1"')
    return found
