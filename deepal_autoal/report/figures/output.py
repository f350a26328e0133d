"""Writes figures as files and as SVG for a page: the same data give the same bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from deepal_autoal.errors import printable_line
from deepal_autoal.files import write_bytes
from deepal_autoal.report.figures.canvas import drawing, size
from deepal_autoal.report.figures.svg import clean_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# By which a file is recognized as one that may be replaced.
PNG_MARK = b"deepal_autoal"
SVG_MARK = b' role="img" aria-labelledby="'


def to_svg(figure: Figure, title: str, description: str) -> str:
    """Return a figure as an ``svg`` element for use in a page.

    It has a view box but no size, so it takes the available width; text stays text. All ids start with the figure's
    own id, which must be unique on the page.

    Args:
        figure: From a function of this package.
        title: A title for screen readers.
        description: What the figure shows, for screen readers.
    """
    figure_id = figure.get_gid()
    assert figure_id is not None
    marks = [artist for artist in figure.findobj() if str(artist.get_gid() or "").startswith(f"{figure_id}--")]
    tips = {str(artist.get_gid()): str(artist.get_label()) for artist in marks}
    buffer = io.StringIO()
    with drawing(**{"svg.hashsalt": figure_id}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return clean_svg(buffer.getvalue(), figure_id, printable_line(title), printable_line(description), tips)


def to_svg_file(figure: Figure, path: str | Path, title: str, description: str) -> None:
    """Write a figure as an SVG file of its natural size.

    Raises:
        RunFolderError: If it cannot be written.
    """
    width, height = size(figure)
    svg = to_svg(figure, title, description).replace("<svg ", f'<svg width="{width:g}pt" height="{height:g}pt" ', 1)
    write_bytes(Path(path), f'<?xml version="1.0" encoding="utf-8"?>\n{svg}\n'.encode())


def to_png(figure: Figure, path: str | Path, dpi: int = 200) -> None:
    """Write a figure as a PNG file.

    Args:
        figure: From a function of this package.
        path: The file.
        dpi: Pixels per inch; figures are between seven and eight inches wide.

    Raises:
        RunFolderError: If it cannot be written.
    """
    buffer = io.BytesIO()
    with drawing():
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": PNG_MARK.decode()})
    write_bytes(Path(path), buffer.getvalue())
