"""Datasets: by registered name, or a user's own data by path.

Importing this package is light; arrays, decoders and scikit-learn are imported when a dataset is loaded.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepal_autoal.isolation.engine_calls import engine_call

if TYPE_CHECKING:
    from deepal_autoal.datasets.base import Dataset
    from deepal_autoal.plugins.registry import Entry

__all__ = ["Dataset", "load_dataset"]

DATA_DIR_VARIABLE = "DEEPAL_DATA"
DEFAULT_DATA_DIR = "data"
DEFAULT_DATASET = "digits"
IMAGE_SIZE, SKIP_BAD = "image_size", "skip_bad"


@engine_call()
def load_dataset(
    name_or_path: str | Path,
    data_dir: str | Path | None = None,
    image_size: int | str | Sequence[int] | None = None,
    *,
    skip_bad: bool | None = False,
    target: str | None = None,
    text_model: str | None = None,
) -> Dataset:
    """Load a registered dataset by name, or the user's own data by path.

    A registered name takes precedence over a folder of the same name; ``./digits`` or an absolute path means the
    folder.

    Args:
        name_or_path: A name that ``deepal datasets`` lists, or a folder of class folders (optionally under
            ``train/`` and ``test/``), a CSV manifest (``path,label[,split]``), a ``.csv`` or ``.parquet`` of features
            with a column of labels, or an ``.npz`` with ``x`` and ``y``.
        data_dir: Folder that named datasets are read from and downloaded to; by default the environment variable
            ``DEEPAL_DATA``, else ``data``.
        image_size: For folders and manifests of images, and named datasets of image files: the size that every image
            is brought to, ``N`` for N×N pixels or height and width, ``"HxW"`` or a pair. Images are scaled, sides in
            proportion, until they just cover it, and cropped to their center. By default all must have one size, and
            named datasets have their own.
        skip_bad: For the same: whether to go on without image files that cannot be used; the dataset lists them as
            ``skipped``. For other data it has no effect, and a warning says so.
        target: Of a table of features: the column that holds the labels; by default ``label``, ``target`` or ``y``.
        text_model: Of a table: what makes vectors of texts, the name or folder of a model of sentence-transformers, or
            ``"tf-idf"``; by default such a model if one is on this machine (see ``docs/data.md``), else TF-IDF.

    Raises:
        UnknownNameError: If it is neither a registered name nor an existing path.
        InputError: If the data cannot be used; the message names the file and says what to do.
        PluginError: If a third-party loader cannot be imported or does not return a `Dataset`.
    """
    from deepal_autoal.datasets.base import Dataset
    from deepal_autoal.datasets.files.image_size import no_image_files, read_image_size, warn_of_no_files_to_skip
    from deepal_autoal.errors import InputError, PluginError
    from deepal_autoal.plugins.host import plugin_host
    from deepal_autoal.user_paths import user_path

    size = read_image_size(image_size)
    if not str(name_or_path).strip() or "\0" in str(name_or_path):
        raise InputError("the dataset name is empty or invalid: give a name that `deepal datasets` lists, or a path")
    registry = plugin_host().datasets
    if isinstance(name_or_path, Path) or name_or_path not in registry:
        path = user_path(name_or_path, "--dataset")
        # Path's own would raise for an unreadable parent.
        if os.path.exists(path):
            from deepal_autoal.datasets.user_data.load_path import load_path

            return load_path(path, size, skip_bad=bool(skip_bad), target=target, text_model=text_model)
        if isinstance(name_or_path, Path) or _looks_like_path(name_or_path):
            raise InputError(f"there is no file or folder {path}; give an existing path or a registered name")
    entry = registry.get(str(name_or_path))
    options = _loader_options(entry)
    if target is not None:
        raise InputError(f"--target {target}: dataset {entry.name} is no table of features; leave it out")
    if size is not None and IMAGE_SIZE not in options:
        raise no_image_files(image_size, f"dataset {entry.name}")
    if skip_bad and SKIP_BAD not in options:
        warn_of_no_files_to_skip(f"dataset {entry.name}")
    given = {name: value for name, value in ((IMAGE_SIZE, size), (SKIP_BAD, skip_bad)) if value and name in options}
    dataset: Any = entry.call(data_folder(data_dir), **given)
    if not isinstance(dataset, Dataset):
        raise PluginError(
            f"the loader of dataset {entry.name!r} ({entry.provider}) returned {type(dataset).__name__}, not a Dataset"
        )
    return dataset


def are_image_files(name_or_path: str | Path) -> bool:
    """Return whether `load_dataset` takes an ``image_size`` for this: a folder or manifest of images, or a name."""
    from deepal_autoal.datasets.user_data.load_path import MANIFEST
    from deepal_autoal.plugins.host import plugin_host

    registry = plugin_host().datasets
    if not isinstance(name_or_path, Path) and name_or_path in registry:
        return IMAGE_SIZE in _loader_options(registry.get(name_or_path))
    path = os.path.expanduser(name_or_path)
    if not path.lower().endswith(MANIFEST):
        return os.path.isdir(path)
    from deepal_autoal.datasets.user_data.table_file import is_feature_table

    return not is_feature_table(Path(path), None)


def data_folder(data_dir: str | Path | None = None) -> Path:
    """Return the folder of named datasets: the one given, else that of ``DEEPAL_DATA``, else ``data``."""
    from deepal_autoal.user_paths import user_path

    if data_dir is not None:
        return user_path(data_dir, "--data-dir")
    return user_path(os.environ.get(DATA_DIR_VARIABLE) or DEFAULT_DATA_DIR, DATA_DIR_VARIABLE)


def _loader_options(entry: Entry) -> tuple[str, ...]:
    """Return which options a registered dataset's loader takes: those of image files, or none."""
    try:
        parameters = inspect.signature(entry.load()).parameters
    except ValueError:  # some functions written in C have no signature
        return ()
    return tuple(name for name in (IMAGE_SIZE, SKIP_BAD) if name in parameters)


def _looks_like_path(text: str) -> bool:
    separators = {"/", os.sep, os.altsep or "/"}
    return text.startswith((".", "~")) or Path(text).suffix != "" or any(mark in text for mark in separators)


def __getattr__(name: str) -> Any:
    if name == "Dataset":
        from deepal_autoal.datasets.base import Dataset

        return Dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
