"""Reports on finished runs: tables, figures, and a page that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepal_autoal.report.figure_list import Drawings
    from deepal_autoal.report.report_data import Contents

PAGE = "report.html"
# By which a file is recognized as one that may be replaced.
PAGE_MARK = b'<meta name="generator" content="deepal_autoal '


def write_report(out: Path) -> Path:
    """Write OUT/report.html from the finished runs in a benchmark's folder, and return its path.

    Raises:
        DeepALError: If there is no finished run, runs cannot be compared, or the page cannot be written or would
            replace a file that is not such a page.
    """
    from deepal_autoal.files import check_output, is_marked
    from deepal_autoal.report.figure_list import Drawings

    check_output(out / PAGE, partial(is_marked, mark=PAGE_MARK), option="the page")
    return write_page(Drawings(make_contents([out])), out / PAGE)


def make_contents(paths: Sequence[str | Path], baseline: str | None = None) -> Contents:
    """Read runs and return the contents of a report on them.

    Args:
        paths: Benchmark folders, run folders, results.csv files.
        baseline: The label of the strategy that the others are compared to; ``random`` by default.

    Raises:
        UnknownNameError: If no run has the given baseline's label.
        DeepALError: As in `deepal_autoal.report.study.read_study`.
    """
    from deepal_autoal.errors import InputError, UnknownNameError
    from deepal_autoal.plugins.registry import is_oracle
    from deepal_autoal.report.report_data import Contents
    from deepal_autoal.report.study import read_study
    from deepal_autoal.statistics.savings import BASELINE

    study = read_study(paths)
    if baseline is not None and is_oracle(baseline):
        raise InputError(f"--baseline {baseline} is an oracle and no strategy; the table of regret compares to it")
    if baseline is not None and baseline not in study.strategies:
        raise UnknownNameError("strategy of these runs", baseline, study.strategies)
    return Contents(study, baseline or BASELINE)


def write_page(drawings: Drawings, path: Path) -> Path:
    """Write the page and return its path.

    Args:
        drawings: Its figures, which also hold the report's contents.
        path: The file to write.

    Raises:
        RunFolderError: If it cannot be written.
    """
    from deepal_autoal.errors import RunFolderError
    from deepal_autoal.files import write_bytes
    from deepal_autoal.report.page import render_page
    from deepal_autoal.user_paths import user_path

    path = user_path(path, "--out")
    text = render_page(drawings)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot create {path.parent}: {error.strerror}; choose another --out") from error
    write_bytes(path, text.encode("utf-8", "replace"))
    return path


def write_plots(drawings: Drawings, folder: Path) -> int:
    """Write every figure as PNG and SVG, and return how many figures there are.

    Args:
        drawings: The figures.
        folder: The folder to write to; created if it is missing.

    Raises:
        InputError: If one of the files exists and was not written by this function.
        RunFolderError: If they cannot be written.
    """
    from deepal_autoal.errors import RunFolderError
    from deepal_autoal.files import check_output, is_marked
    from deepal_autoal.report.figures import to_png, to_svg_file
    from deepal_autoal.report.figures.output import PNG_MARK, SVG_MARK
    from deepal_autoal.user_paths import user_path

    folder = user_path(folder, "--plots")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot create {folder}: {error.strerror}; choose another --plots") from error
    every = [drawing for dataset in drawings.contents.by_dataset for drawing in drawings.of(dataset)]
    every += drawings.over_datasets()
    forms = {"png": PNG_MARK, "svg": SVG_MARK}
    for drawing in every:
        for form, mark in forms.items():
            check_output(folder / f"{drawing.name}.{form}", partial(is_marked, mark=mark), option="--plots")
    for drawing in every:
        to_png(drawing.figure, folder / f"{drawing.name}.png")
        to_svg_file(drawing.figure, folder / f"{drawing.name}.svg", drawing.title, drawing.how_to_read)
    return len(every)
