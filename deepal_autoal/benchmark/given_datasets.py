"""Datasets of a benchmark that are given as Python objects: kept in its folder, where every process reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepal_autoal.datasets import load_dataset
from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.npz_writer import write_npz
from deepal_autoal.datasets.user_data.given_data import dataset_of
from deepal_autoal.datasets.user_data.sentence_models import AUTO, TF_IDF
from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.isolation.engine_calls import engine_call

FOLDER = ".data"


def has_objects(datasets: Any) -> bool:
    """Return whether a benchmark's datasets are given by label, as objects.

    Raises:
        InputError: If objects are given without labels.
    """
    if isinstance(datasets, Mapping):
        return True
    items = [] if datasets is None or isinstance(datasets, str | Path) else datasets
    if not isinstance(items, list | tuple) or not all(isinstance(item, str | Path) for item in items):
        raise InputError("datasets that are no names or paths need labels: write {'mine': (X, y), 'digits': 'digits'}")
    return False


@engine_call()
def keep_datasets(
    datasets: Mapping[str, Any], folder: Path, target: str | None = None, text_model: str | None = None
) -> list[str | Path]:
    """Return names and paths of a benchmark's datasets; objects are written to files first.

    Args:
        datasets: By label: names, paths, or what `dataset_of` takes. A name or path keeps its own label.
        folder: Where the files are, ``<label>.npz``.
        target: Of data frames: the column that holds the labels.
        text_model: What embeds texts; by default what embedded those that are kept already.

    Raises:
        InputError: If one of them cannot be used.
        RunFolderError: If the folder holds other data of the same label.
    """
    found: list[str | Path] = []
    for label, given in datasets.items():
        if isinstance(given, str | Path):
            found.append(given)
            continue
        if not isinstance(label, str) or not label.replace("-", "").replace("_", "").isalnum():
            raise InputError(f"datasets: the label {label!r} names a folder; use letters, digits, - and _")
        path = folder / f"{label}.npz"
        kept = load_dataset(path) if path.exists() else None
        wanted = kept.text_model or TF_IDF if kept is not None and text_model in (None, AUTO) else text_model
        data = dataset_of(given, None if isinstance(given, Dataset | tuple | list) else target, label, wanted)
        if kept is None:
            write_dataset(path, data)
        elif kept.fingerprint != data.fingerprint:
            raise RunFolderError(f"{path} holds other data: give the same, another label, or choose another --out")
        found.append(path)
    return found


def write_dataset(path: Path, data: Dataset) -> None:
    """Write a dataset as an ``.npz`` that `load_npz` reads; augmentation, source and groups of test samples are lost.

    Raises:
        InputError: If it cannot be written, or has groups.
    """
    if data.groups_test is not None:
        raise InputError(f"dataset {data.name!r} has groups of test samples, which no file holds; give its name")
    arrays = {
        "x": data.x_train, "y": data.y_train, "x_test": data.x_test, "y_test": data.y_test,
        "class_names": np.array(data.class_names), "ids": data.ids_train, "ids_test": data.ids_test,
        "kind": np.array("embeddings") if data.is_embeddings else None,
        "skipped": np.array(data.skipped) if data.skipped else None,
        "preparation": np.array(json.dumps(dict(data.preparation))) if data.preparation else None,
        "text_model": np.array(data.text_model) if data.text_model else None,
    }  # fmt: skip
    write_npz(path, {name: array for name, array in arrays.items() if array is not None})
