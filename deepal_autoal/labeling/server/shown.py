"""A project's samples as the page shows them: pictures, texts and numbers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.errors import InputError, without_controls
from deepal_autoal.labeling.data import FILES, TEXTS, Source
from deepal_autoal.labeling.pictures import encoded, picture_of_array, picture_of_file
from deepal_autoal.labeling.sources import checked_source, files_folder

if TYPE_CHECKING:
    from deepal_autoal.labeling.project import Project, SourceRecord

SIDE = 1600
"""The longer side of a picture, in pixels; smaller ones stay as they are."""
_MOST_NUMBERS = 200
_LONGEST_TEXT = 200_000


class ShownSamples:
    """The samples of a project, read when they are needed. Threads may share it.

    Args:
        project: The project.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._read: dict[int, Source] = {}
        self._lock = threading.Lock()

    def content(self, row: int) -> dict[str, Any]:
        """Return what the page needs to show a row's sample, JSON-able.

        That is its ``id``, its printable ``name``, its ``kind``, and if that is not ``image``, its ``text`` or
        ``numbers``, with the names of their ``columns`` if they are from a table.

        Raises:
            InputError: If the data are not where they were, or changed.
        """
        state, form = self._project.state, self._project.settings.form
        shown = {"id": state.ids[row], "name": without_controls(state.ids[row])}
        if form == FILES:
            return {**shown, "kind": "image"}
        source = self._source_of(row)
        data = self._data_of(source)
        if form == TEXTS:
            text = data.texts[row - source.start]
            cut = f"… ({len(text) - _LONGEST_TEXT} more characters)" if len(text) > _LONGEST_TEXT else ""
            return {**shown, "kind": "text", "text": without_controls(text[:_LONGEST_TEXT]) + cut}
        sample = self._sample(row)
        if sample.ndim > 1:
            return {**shown, "kind": "image"}
        numbers = [f"{value:.6g}" for value in sample[:_MOST_NUMBERS].astype(float).tolist()]
        columns = [without_controls(name) for name in data.columns[:_MOST_NUMBERS]]
        return {**shown, "kind": "numbers", "numbers": numbers, "columns": columns,
                "left_out": len(sample) - len(numbers)}  # fmt: skip

    def image(self, row: int) -> tuple[bytes, str]:
        """Return a row's picture as a file, and its media type.

        Raises:
            InputError: If it has none, or its file cannot be read.
        """
        source = self._source_of(row)
        name = self._project.state.ids[row]
        if self._project.settings.form == FILES:
            try:
                return encoded(picture_of_file(str(files_folder(self._project, source) / name), SIDE), SIDE)
            except InputError:
                raise
            except Exception as error:  # decoders raise anything
                raise InputError(f"{name} cannot be read as an image any more") from error
        if self._project.settings.form == TEXTS or (sample := self._sample(row)).ndim == 1:
            raise InputError(f"{name} is no image")
        return encoded(picture_of_array(sample), SIDE)

    def _source_of(self, row: int) -> SourceRecord:
        return next(s for s in self._project.state.sources if s.start <= row < s.start + s.size)

    def _data_of(self, source: SourceRecord) -> Source:
        with self._lock:
            if source.number not in self._read:
                self._read[source.number] = checked_source(self._project, source)
            return self._read[source.number]

    def _sample(self, row: int) -> np.ndarray:
        source = self._source_of(row)
        array = self._data_of(source).array
        assert array is not None
        return np.asarray(array[row - source.start])
