"""Image files that cannot be used: all named at once, or left out and remembered.

Finding them takes a pass over all images, so what was left out, and what else decoding found, is kept in the cache
folder beside the decoded images, and forgotten when a file changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deepal_autoal.datasets.files.array_cache import cache_folder
from deepal_autoal.datasets.files.decoding import BadFileError
from deepal_autoal.errors import DeepALError, InputError
from deepal_autoal.files import read_json, write_json

SHOWN = 10
"""How many files a message names."""


@dataclass(frozen=True, slots=True)
class BadFile:
    """A listed file that cannot be used.

    Attributes:
        relative: Its path relative to the dataset's folder.
        label: Its class.
        error: Why.
    """

    relative: str
    label: str
    error: BadFileError


@dataclass(frozen=True)
class ImageRecord:
    """What is known about the images of a dataset from an earlier start.

    Attributes:
        left_out: Why a file cannot be used, by its path relative to the dataset's folder.
        remarks: What the user should know about the others.
    """

    left_out: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @classmethod
    def read(cls, origin: Path, key: str) -> ImageRecord:
        """Return the record of a dataset's files, an empty one if there is none or it is damaged.

        Args:
            origin: The folder or file that the user gave.
            key: Changes when a file does.
        """
        try:
            content = read_json(_place(origin))
            known = cls(dict(content["record"]["left_out"]), tuple(content["record"]["remarks"]))
            return known if content["digest"] == known._digest(key) else cls()
        except (DeepALError, KeyError, TypeError, ValueError, AttributeError):
            return cls()

    def write(self, origin: Path, key: str) -> None:
        """Keep the record for the next start, if the cache folder can be written."""
        with contextlib.suppress(DeepALError, OSError):
            _place(origin).parent.mkdir(parents=True, exist_ok=True)
            write_json(_place(origin), {"digest": self._digest(key), "record": asdict(self)})

    def _digest(self, key: str) -> str:
        content = json.dumps([key, dict(self.left_out), list(self.remarks)], sort_keys=True)
        return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _place(origin: Path) -> Path:
    prefix = hashlib.blake2b(os.fsencode(os.path.realpath(origin)), digest_size=8).hexdigest()
    return cache_folder() / f"{prefix}.images.json"


def bad_files_error(bad: Mapping[str, BadFileError], n_files: int, folder: Path, may_skip: bool) -> InputError:
    """Return the error for files that cannot be used: the first ten and the count, or the one.

    Args:
        bad: By path relative to the folder, in order; at least one.
        n_files: How many files there are in all.
        folder: The dataset's folder.
        may_skip: Whether such files can be left out.
    """
    if len(bad) == 1:
        skip = ", or go on without it with --skip-bad" if may_skip and n_files > 1 else ""
        return InputError(f"{next(iter(bad.values()))}{skip}")
    advices = {error.advice for error in bad.values()}
    advice = f"each: {advices.pop()}" if len(advices) == 1 else "remove or replace them"
    skip = ", or go on without them with --skip-bad" if may_skip and len(bad) < n_files else ""
    reasons = {name: error.reason for name, error in bad.items()}
    return InputError(
        f"{len(bad)} of {n_files} files in {folder} cannot be used: {first_files(reasons)}; {advice}{skip}"
    )


def first_files(reasons: Mapping[str, str]) -> str:
    """Return the first ten files, with the reason of each, as one line.

    Args:
        reasons: By file.
    """
    names: dict[str, list[str]] = {}
    for name, reason in list(reasons.items())[:SHOWN]:
        names.setdefault(reason, []).append(name)
    shown = ", ".join(f"{', '.join(group)} ({reason})" for reason, group in names.items())
    return shown + (f", and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else "")
