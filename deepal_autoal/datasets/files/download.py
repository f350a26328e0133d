"""Downloads files from a list of mirrors and checks them before they appear."""

# torchvision's download_url has no timeout, would replace a user's own file, and leaves a partial one if interrupted.

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import urllib.request
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from deepal_autoal.errors import InputError
from deepal_autoal.files import replacing

TIMEOUT_SECONDS = 15.0
# Some hosts, for example Zenodo, reject urllib's default user agent.
USER_AGENT = "deepal_autoal"
_CHUNK_BYTES = 1 << 20

logger = logging.getLogger(__name__)
_is_allowed = ContextVar("_is_allowed", default=True)


class DownloadError(Exception):
    """No mirror delivered the file, or it cannot be written."""


@contextlib.contextmanager
def without_downloads() -> Iterator[None]:
    """Disable downloads inside the block, as if no mirror answered."""
    token = _is_allowed.set(False)
    try:
        yield
    finally:
        _is_allowed.reset(token)


def obtain(dataset: str, urls: Sequence[str], target: Path, md5: str, alternative: str = "") -> None:
    """Download a dataset's file as `download` does; if that fails, the error says which file to put where.

    Args:
        alternative: What may be there instead, such as ``" (or extracted)"``; follows the file's name.

    Raises:
        InputError: If the file is missing and cannot be downloaded.
    """
    try:
        download(urls, target, md5)
    except DownloadError as error:
        raise InputError(
            f"{dataset} is not complete in {target.parent} and cannot be downloaded ({error}); put {target.name} "
            f"there{alternative}, or choose the folder with --data-dir"
        ) from error


def download(urls: Sequence[str], target: Path, md5: str) -> None:
    """Download a file from the first URL that delivers it whole; an existing file is left as it is.

    Raises:
        DownloadError: If none does, or the folder is not writable.
    """
    if target.exists():
        return
    if not _is_allowed.get():
        raise DownloadError("downloads are disabled here")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target, keep_existing=True) as file:  # another process may have been faster
            _fetch(urls, file, md5)
    except OSError as error:
        raise DownloadError(f"{target.parent} cannot be written to: {error.strerror}") from error


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
        reasons.append(f"{url}: its contents do not match the MD5 digest")
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
