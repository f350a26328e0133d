"""Write a folder of text files atomically: all of them or none."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from deepal_autoal.errors import InputError
from deepal_autoal.user_paths import user_path


def write_folder(folder: Path, texts: Mapping[str, str]) -> None:
    """Create a folder, with its parents and the given files.

    Args:
        folder: Must not exist.
        texts: Text by path within the folder.

    Raises:
        InputError: If it exists or cannot be written; then nothing is left behind.
    """
    final = Path(os.path.abspath(user_path(folder, "--out")))
    if os.path.lexists(final):
        raise InputError(f"{folder} already exists and was not changed: choose another folder with --out")
    # The topmost folder that has to be created: moving it into place creates everything below it at once.
    top = final
    while not os.path.lexists(top.parent):
        top = top.parent
    aside = top.with_name(f".{top.name}.{os.getpid()}-{secrets.token_hex(4)}.deepal-tmp")
    try:
        aside.mkdir()
        try:
            for name, text in texts.items():
                path = aside / final.relative_to(top) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            os.rename(aside, top)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    except OSError as error:
        raise InputError(
            f"cannot create {folder}: {error.strerror or error}; choose another place with --out"
        ) from error
