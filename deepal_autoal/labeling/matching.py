"""Which sample another tool means: it has its own paths, or none of our names at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from deepal_autoal.labeling.data import TEXTS
from deepal_autoal.labeling.project import Project
from deepal_autoal.labeling.sources import texts_of

# What Label Studio puts before the name of an uploaded file.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")


class Matcher:
    """Finds samples of a project by what another tool calls them.

    Args:
        project: The project.
    """

    def __init__(self, project: Project) -> None:
        self._project = project

    def row(self, names: Sequence[str]) -> int | None:
        """Return the row of a sample.

        Args:
            names: What may stand for it: ids, paths or URLs that end with one or with a file name that no other sample
                has, and texts. Of texts, an id only counts together with its text, as other projects have row numbers
                too.
        """
        if self._project.settings.form == TEXTS:
            return self._row_of_text(names)
        return next((row for row in map(self._row_of_file, names) if row is not None), None)

    def _row_of_text(self, names: Sequence[str]) -> int | None:
        rows, written = self._project.state.row_of, {name.strip() for name in names}
        by_id = (rows[name] for name in names if name in rows)
        by_text = (self._by_text.get(name.strip()) for name in names)
        return next(
            (row for row in (*by_id, *by_text) if row is not None and self._texts[row].strip() in written), None
        )

    def _row_of_file(self, written: str) -> int | None:
        rows = self._project.state.row_of
        if written in rows:
            return rows[written]
        try:
            parts = urlsplit(written)
        except ValueError:  # no address
            return None
        local = parse_qs(parts.query).get("d")
        path = local[0] if local else unquote(parts.path)
        names = [part for part in path.replace("\\", "/").split("/") if part]
        for start in range(len(names)):
            suffix = "/".join(names[start:])
            if suffix in rows:
                return rows[suffix]
        for name in (names[-1], _UPLOADED.sub("", names[-1])) if names else ():
            if self._by_file_name.get(name) is not None:
                return self._by_file_name[name]
        return None

    @cached_property
    def _by_file_name(self) -> dict[str, int | None]:
        """Rows by the last part of their names; None if several have it."""
        found: dict[str, int | None] = {}
        for row, name in enumerate(self._project.state.ids):
            last = PurePosixPath(name).name
            found[last] = None if last in found else row
        return found

    @cached_property
    def _texts(self) -> list[str]:
        return texts_of(self._project)

    @cached_property
    def _by_text(self) -> dict[str, int | None]:
        """Rows by text; None if several have it."""
        found: dict[str, int | None] = {}
        for row, text in enumerate(self._texts):
            found[text.strip()] = None if text.strip() in found else row
        return found
