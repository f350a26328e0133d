"""Files fetched from a list of mirrors, checked before they appear."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import os
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from deepal_autoal.errors import InputError

TIMEOUT_SECONDS = 15.0
# Some hosts, Zenodo for one, refuse what urllib calls itself.
USER_AGENT = "deepal_autoal"
_CHUNK_BYTES = 1 << 20

logger = logging.getLogger(__name__)
_is_allowed = ContextVar("_is_allowed", default=True)


class DownloadError(Exception):
    """No mirror delivered the file, or it cannot be written."""


@contextlib.contextmanager
def without_downloads() -> Iterator[None]:
    """Let nothing be fetched inside: what is absent stays so, as if no mirror answered."""
    token = _is_allowed.set(False)
    try:
        yield
    finally:
        _is_allowed.reset(token)


def obtain(dataset: str, urls: Sequence[str], target: Path, md5: str, alternative: str = "") -> None:
    """Fetch a dataset's file as `download` does, or say which file to put where.

    Args:
        alternative: What may lie there instead, such as ``" (or extracted)"``; follows the file's name.

    Raises:
        InputError: If it is absent and cannot be downloaded.
    """
    try:
        download(urls, target, md5)
    except DownloadError as error:
        raise InputError(
            f"{dataset} is not complete in {target.parent} and cannot be downloaded ({error}); put {target.name} "
            f"there{alternative}, or choose the folder with --data-dir"
        ) from error


def download(urls: Sequence[str], target: Path, md5: str) -> None:
    """Fetch a file from the first address that delivers it whole; an existing file is left as it is.

    Raises:
        DownloadError: If none does, or the folder cannot be written to.
    """
    if target.exists():
        return
    if not _is_allowed.get():
        raise DownloadError("nothing is downloaded here")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    except OSError as error:
        raise DownloadError(f"{target.parent} cannot be written to: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            _fetch(urls, file, md5)
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        # Another process may have been faster; its file stays.
        if not target.exists():
            os.replace(temporary, target)
    except OSError as error:
        raise DownloadError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _fetch(urls: Sequence[str], file: IO[bytes], md5: str) -> None:
    reasons = []
    for url in urls:
        file.seek(0)
        file.truncate()
        try:
            digest = _copy(url, file)
        except (OSError, http.client.HTTPException) as error:
            reasons.append(f"{url}: {getattr(error, 'reason', None) or error}")
            continue
        if digest == md5:
            file.flush()
            return
        reasons.append(f"{url}: its contents are not the expected ones")
    raise DownloadError("; ".join(reasons))


def _copy(url: str, file: IO[bytes]) -> str:
    from tqdm import tqdm

    digest = hashlib.md5(usedforsecurity=False)
    logger.info("downloading %s", url)
    request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        length = int(answer.headers.get("Content-Length") or 0) or None
        name = url.rpartition("/")[2].partition("?")[0]
        with tqdm(total=length, desc=name, unit="B", unit_scale=True, disable=None, leave=False) as progress:
            while chunk := answer.read(_CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                progress.update(len(chunk))
    return digest.hexdigest()
