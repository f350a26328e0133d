"""Paths in what was recorded, without the folders of the machine: a report is made to be passed on."""

from __future__ import annotations

import re

# An address is none, nor is a name such as torchvision/resnet18. What ends a path are brackets, quotes and commas, as
# in options of strategies; a space does not, since folders have them.
_ADDRESS_OR_PATH = re.compile(
    r"""
    (?P<address>(?!file:)[a-z][a-z0-9+.-]+://[^\s]*)
    | (?:file://|(?<![\w.~/\\])) (?:(?:~\w*|\.{1,2})?/ | (?:[a-z]:|\\)[/\\]) [^\s,;\[\](){}'"<>|][^\n,;\[\](){}'"<>|]*
    """,
    re.VERBOSE | re.IGNORECASE,
)


def without_folders(text: str) -> str:
    """Return a text in which of each path no more than the last part is left; give words of a command one by one."""
    return _ADDRESS_OR_PATH.sub(lambda found: found["address"] or _last_part(found[0]), text)


def _last_part(path: str) -> str:
    return re.split(r"[/\\]+", path.rstrip("/\\ "))[-1]
