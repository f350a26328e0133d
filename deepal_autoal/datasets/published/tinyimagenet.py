"""TinyImageNet, read from the folder ``tiny-imagenet-200`` or extracted into it from the archive."""

# torchvision has no class for it.

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.download import obtain
from deepal_autoal.datasets.files.extraction import extract_folder
from deepal_autoal.datasets.files.image_files import ImageFile, file_state, image_dataset
from deepal_autoal.datasets.user_data.image_folder import images_by_class, images_in
from deepal_autoal.errors import InputError

FOLDER = "tiny-imagenet-200"
URL = f"http://cs231n.stanford.edu/{FOLDER}.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"

_ANNOTATIONS = "val_annotations.txt"


def load(data_dir: Path) -> Dataset:
    """Return 100,000 training and 10,000 test images of 200 classes, uint8 (N, 64, 64, 3).

    The test set is the validation split, since the test split has no labels. If there is no folder, the
    archive, downloaded if it is missing too, is extracted once. Images are decoded once into the cache (see
    `image_dataset`).

    Source: Le & Yang 2015, Tiny ImageNet visual recognition challenge.

    Raises:
        InputError: If the files are missing and cannot be downloaded, or are damaged; one line names the file.
    """
    folder = data_dir / FOLDER
    if not folder.is_dir():
        archive = data_dir / f"{FOLDER}.zip"
        obtain("tinyimagenet", [URL], archive, MD5, f" (or the folder {FOLDER} from it)")
        extract_folder(archive, FOLDER)
    for part in ("train", "val/images"):
        if not (folder / part).is_dir():
            raise InputError(f"{folder} holds no folder {part}; delete it and put {FOLDER}.zip in its place")
    train = images_by_class(folder / "train", "train/")
    data = image_dataset("TinyImageNet folder", folder, folder, train, _test_images(folder))
    return replace(
        data,
        name="tinyimagenet",
        class_names=_class_names(folder / "words.txt", data.class_names),
        augmentation=("crop", "flip"),
    )


def _test_images(folder: Path) -> list[ImageFile]:
    """Return the images of the validation split in the order of its list."""
    annotations = folder / "val" / _ANNOTATIONS
    labels: dict[str, str] = {}
    for number, line in enumerate(_lines(annotations), 1):
        name, *columns = line.split("\t")
        if not name or not columns or not columns[0]:
            raise InputError(
                f"{annotations}, line {number}: it must name an image and a class; download the file again"
            )
        if labels.setdefault(name, columns[0]) != columns[0]:
            raise InputError(f"{annotations}, line {number}: {name} already has a class; download the file again")
    if not labels:
        raise InputError(f"{annotations} is empty; download it again")
    present = dict(images_in(folder / "val" / "images", ""))
    for name in labels:
        if name not in present:
            raise InputError(f"{annotations} lists {name}, which is not in {folder / 'val' / 'images'}; put it there")
    for name in present:
        if name not in labels:
            raise InputError(f"{folder / 'val' / 'images' / name} is not listed in {_ANNOTATIONS}; remove it")
    return [ImageFile(f"val/images/{name}", label, file_state(present[name])) for name, label in labels.items()]


def _class_names(words: Path, wnids: Sequence[str]) -> tuple[str, ...]:
    """Return each class's first word if no other class has it, else its WordNet ID."""
    listed = dict(line.split("\t", 1) for line in _lines(words) if "\t" in line) if words.is_file() else {}
    first = {wnid: listed[wnid].partition(",")[0].strip() for wnid in wnids if wnid in listed}
    counts = Counter(first.values())
    return tuple(first[wnid] if first.get(wnid) and counts[first[wnid]] == 1 else wnid for wnid in wnids)


def _lines(path: Path) -> list[str]:
    if path.exists() and not path.is_file():  # reading a named pipe would block
        raise InputError(f"{path} is not a file; put it there again")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); put it there again") from error
    return [line for line in text.splitlines() if line.strip()]
