"""A page that shows samples beside their names: one file, nothing else needed, also to be printed."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.errors import without_controls
from deepal_autoal.labeling.data import FILES, TEXTS
from deepal_autoal.labeling.pictures import encoded, picture_of_array, picture_of_file
from deepal_autoal.labeling.sources import checked_source, files_folder

if TYPE_CHECKING:
    from PIL.Image import Image

    from deepal_autoal.labeling.project import Project, SourceRecord

SIDE = 160
_SHOWN_NUMBERS = 8
_LONGEST_TEXT = 2000

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.4 system-ui, sans-serif; }
body { margin: 1.5rem; }
ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: 1rem; padding: 0; }
ol.wide { grid-template-columns: 1fr; }
li { list-style: none; break-inside: avoid; border: 1px solid #8886; border-radius: 6px; padding: .5rem; }
img { display: block; max-width: 100%; margin: 0 auto .4rem; image-rendering: auto; }
code { overflow-wrap: anywhere; font-size: .85rem; } small { display: block; }
p.text { white-space: pre-wrap; margin: 0 0 .4rem; }
"""


def contact_sheet(
    project: Project, rows: Sequence[int], title: str, lead: str, notes: Mapping[int, str] | None = None
) -> bytes:
    """Return a page with the samples of some rows, in their order.

    Args:
        project: The project.
        rows: Of the samples.
        title: Of the page.
        lead: A line below it.
        notes: A line below a sample, by row.

    Raises:
        InputError: If the data are not where they were.
    """
    shown = _shown(project, rows)
    items = []
    for number, row in enumerate(rows, 1):
        name, note = _escaped(project.state.ids[row]), (notes or {}).get(row, "")
        below = f"<small>{_escaped(note)}</small>" if note else ""
        items.append(f"<li>{shown[row]}<b>{number}</b> <code>{name}</code>{below}</li>")
    classes = ", ".join(_escaped(name) for name in project.classes)
    known = f"<p>Classes so far: {classes}.</p>" if classes else ""
    wide = ' class="wide"' if project.settings.form == TEXTS else ""
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_escaped(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{_escaped(title)}</h1><p>{_escaped(lead)}</p>{known}<ol{wide}>"
        + "\n".join(items)
        + "</ol></body></html>\n"
    )
    return page.encode("utf-8", "backslashreplace")


def _shown(project: Project, rows: Sequence[int]) -> dict[int, str]:
    """Return what stands for each sample, as HTML."""
    shown: dict[int, str] = {}
    for source in project.state.sources:
        own = [row for row in rows if source.start <= row < source.start + source.size]
        if own:
            shown |= _of_source(project, source, own)
    return shown


def _of_source(project: Project, source: SourceRecord, rows: Sequence[int]) -> dict[int, str]:
    if project.settings.form == FILES:
        folder = files_folder(project, source)
        return {row: _picture_of_file(str(folder / source.ids[row - source.start])) for row in rows}
    data = checked_source(project, source)
    if project.settings.form == TEXTS:
        texts = {row: data.texts[row - source.start] for row in rows}
        return {row: f'<p class="text">{_escaped(text[:_LONGEST_TEXT])}</p>' for row, text in texts.items()}
    assert data.array is not None
    return {row: _of_array(np.asarray(data.array[row - source.start]), data.columns) for row in rows}


def _of_array(sample: np.ndarray, columns: Sequence[str]) -> str:
    if sample.ndim == 1:
        shown = [f"{value:.3g}" for value in sample[:_SHOWN_NUMBERS].astype(float)]
        names = [f"{_escaped(name)} " for name in columns[:_SHOWN_NUMBERS]] or [""] * len(shown)
        numbers = ", ".join(map("".join, zip(names, shown, strict=True)))
        return f'<p class="text">{numbers}{", ..." if len(sample) > _SHOWN_NUMBERS else ""}</p>'
    return _picture(picture_of_array(sample))


def _picture_of_file(path: str) -> str:
    try:
        return _picture(picture_of_file(path, SIDE))
    except Exception:  # decoders raise anything; the sample can still be opened by its name
        return "<p>(cannot be shown)</p>"


def _picture(image: Image) -> str:
    content, kind = encoded(image, SIDE, enlarge=True)
    return f'<img alt="" src="data:{kind};base64,{base64.b64encode(content).decode()}">'


def _escaped(text: str) -> str:
    return html.escape(without_controls(text))
