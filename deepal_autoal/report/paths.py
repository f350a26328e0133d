"""Strips folders from recorded paths: a report is passed on and should not show the folders of a machine."""

from __future__ import annotations

import re

# URLs and names such as torchvision/resnet18 are not paths. Brackets, quotes and commas end a path, as in options of
# strategies; a space does not, since folder names may contain spaces.
_ADDRESS_OR_PATH = re.compile(
    r"""
    (?P<address>(?!file:)[a-z][a-z0-9+.-]+://[^\s]*)
    | (?:file://|(?<![\w.~/\\])) (?:(?:~\w*|\.{1,2})?/ | (?:[a-z]:|\\)[/\\]) [^\s,;\[\](){}'"<>|][^\n,;\[\](){}'"<>|]*
    """,
    re.VERBOSE | re.IGNORECASE,
)


def without_folders(text: str) -> str:
    """Return a text with each path cut to its last part; pass the words of a command one by one."""
    return _ADDRESS_OR_PATH.sub(lambda found: found["address"] or _last_part(found[0]), text)


def _last_part(path: str) -> str:
    return re.split(r"[/\\]+", path.rstrip("/\\ "))[-1]
