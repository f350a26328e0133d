"""Extracts a zip archive's folder beside it: whole or not at all, and nowhere else."""

# torchvision's extract_archive would leave a partial folder if interrupted, and not check for free space.

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from deepal_autoal.datasets.files.array_cache import FREE_SPACE_MARGIN
from deepal_autoal.errors import InputError


def extract_folder(archive: Path, name: str) -> None:
    """Extract an archive of one folder called ``name``; the folder appears beside the archive when it is complete.

    Raises:
        InputError: If the archive is damaged, holds anything outside that folder, or does not fit on the disk.
    """
    try:
        temporary = tempfile.mkdtemp(dir=archive.parent, prefix=f".{name}.", suffix=".tmp")
    except OSError as error:
        raise InputError(
            f"{archive.parent} cannot be written to ({error.strerror}); extract {archive} elsewhere"
        ) from error
    try:
        with zipfile.ZipFile(archive) as members:
            _extract(members, archive, name, Path(temporary))
        try:
            os.rename(Path(temporary, name), archive.parent / name)
        except OSError:
            # Another process may have been faster; its folder stays.
            if not (archive.parent / name).is_dir():
                raise
    # RuntimeError and NotImplementedError: encryption, or a compression method that zipfile does not know.
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{archive} cannot be extracted ({error}); delete it and download it again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract(members: zipfile.ZipFile, archive: Path, name: str, target: Path) -> None:
    from tqdm import tqdm

    infos = [info for info in members.infolist() if not info.filename.startswith("__MACOSX/")]
    for info in infos:
        # zipfile itself would silently move such a path inside, under another name.
        parts = PurePosixPath(info.filename.replace("\\", "/")).parts
        if parts[:1] != (name,) or ".." in parts or ":" in info.filename:
            raise InputError(
                f"{archive} holds {info.filename[:80]!r}, outside its folder {name}; delete it and download it again"
            )
    if not infos:
        raise InputError(f"{archive} is empty; delete it and download it again")
    needed = sum(info.file_size for info in infos)
    if shutil.disk_usage(target).free < needed + FREE_SPACE_MARGIN:
        raise InputError(f"{archive} takes {needed / 2**20:.0f} MiB when extracted, more than is free; free some space")
    for info in tqdm(infos, desc=f"extracting {archive.name}", unit="file", disable=None, leave=False):
        members.extract(info, target)
