"""Loads a user's own data by path: chooses the reader."""

from __future__ import annotations

from pathlib import Path

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.image_size import no_image_files, warn_of_no_files_to_skip
from deepal_autoal.datasets.user_data.image_folder import load_image_folder
from deepal_autoal.datasets.user_data.manifest import load_manifest
from deepal_autoal.datasets.user_data.npz import load_npz
from deepal_autoal.datasets.user_data.table_file import is_feature_table, load_table
from deepal_autoal.errors import InputError

MANIFEST, ARRAYS, PARQUET = ".csv", ".npz", ".parquet"


def load_path(
    path: Path, image_size: tuple[int, int] | None = None, *, skip_bad: bool = False, target: str | None = None,
    text_model: str | None = None,
) -> Dataset:  # fmt: skip
    """Load an image folder, a CSV manifest, a table of features or an ``.npz`` file.

    Args:
        path: The folder or file.
        image_size: Height and width that every image is brought to, for image files.
        skip_bad: Whether to go on without image files that cannot be used; for other data, without effect but for a
            warning.
        target: Of a table: the column that holds the labels (see `load_table`).
        text_model: Of a table: what embeds texts.

    Raises:
        InputError: If the path is none of these, or its data cannot be used.
    """
    suffix = path.suffix.lower()
    is_table = path.is_file() and (suffix == PARQUET or (suffix == MANIFEST and is_feature_table(path, target)))
    if target is not None and not is_table:
        raise InputError(f"--target {target}: {path} is no table of features; leave it out")
    if path.is_dir():
        return load_image_folder(path, image_size, skip_bad=skip_bad)
    if not is_table and (suffix not in (MANIFEST, ARRAYS) or not path.is_file()):
        raise InputError(
            f"{path} is not a dataset; give a folder of class folders, a .csv manifest of images, a .csv or .parquet "
            "of features with a column of labels (--target), or an .npz file"
        )
    if suffix == MANIFEST and not is_table:
        return load_manifest(path, image_size, skip_bad=skip_bad)
    if image_size is not None:
        raise no_image_files(image_size, str(path))
    if skip_bad:
        warn_of_no_files_to_skip(str(path))
    return load_table(path, target, text_model) if is_table else load_npz(path)
