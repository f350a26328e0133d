"""Finds datasets that cannot be downloaded without an account or a published checksum: the user extracts them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from deepal_autoal.errors import InputError

SIDE = 224
"""The side of images, in pixels, unless another size is asked for: what networks for photographs are made for."""


def extracted_folder(dataset: str, data_dir: Path, places: Iterable[str], part: str, source: str) -> Path:
    """Return the first of several folders that holds a file or folder.

    Args:
        dataset: The dataset's name, for the message.
        data_dir: The folder of named datasets.
        places: Folders in it; the first is the one to create.
        part: What must be in the folder.
        source: Where to download the data from.

    Raises:
        InputError: If there is none; one line says what to download and where to put it.
    """
    folders = [data_dir / place for place in places]
    for folder in folders:
        if (folder / part).exists():
            return folder
    raise InputError(
        f"{dataset}: there is no {folders[0] / part}; download the data from {source} and extract it so that this is "
        "there, or choose another folder than "
        f"{data_dir} with --data-dir"
    )
