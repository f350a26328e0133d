"""``deepal report``: report finished runs as a page, tables or figures."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import click

from deepal_autoal.cli.logging_setup import set_up_logging
from deepal_autoal.cli.shared_options import UserPath
from deepal_autoal.errors import InputError, RunFolderError, without_controls
from deepal_autoal.report import PAGE, PAGE_MARK

FORMATS = ("html", "markdown", "csv", "latex")
# By which a file is recognized as a report that may be replaced.
MARKS = {
    "html": PAGE_MARK,
    "markdown": b"Written by deepal report",
    "latex": b"Written by deepal report",
}


@click.command("report")
@click.argument("paths", nargs=-1, type=UserPath(), metavar="PATH...")
@click.option("--format", "form", type=click.Choice(FORMATS), default="html", help="Default html, a single page.")
@click.option(
    "--out",
    type=UserPath(),
    metavar="PATH",
    help=f"The file to write, a folder for csv. By default {PAGE} in PATH, or NAME-{PAGE} beside NAME.csv; other "
    "formats are printed.",
)
@click.option("--table", "names", multiple=True, metavar="NAME", help="A table for markdown, csv or latex; repeatable.")
@click.option("--plots", type=UserPath(), metavar="DIR", help="Write each figure as PNG and SVG too.")
@click.option("--baseline", metavar="LABEL", help="The strategy to compare the others with; default random.")
@click.option("--quiet", is_flag=True, help="Show only the result.")
def report_command(
    paths: tuple[Path, ...], form: str, out: Path | None, names: tuple[str, ...], plots: Path | None,
    baseline: str | None, quiet: bool,
) -> None:  # fmt: skip
    """Report finished runs: tables, statistics, figures, cautions.

    PATH is a benchmark's folder, a run folder, a folder of such folders, or a results.csv; several are merged. Runs
    with different settings are not compared: the error says how they differ.
    """
    set_up_logging(verbose=False)
    if not paths:
        raise InputError("no PATH given: name a folder of one or more runs, a benchmark's folder, or a results.csv")
    if names and form == "html":
        raise InputError("--table: the page holds all tables; add --format markdown, csv or latex")
    from deepal_autoal.experiment.results import reading
    from deepal_autoal.files import check_output, is_marked

    with reading(paths[0]):
        target = _page_target(paths, out) if form == "html" else out
    if target is not None and form != "csv":
        if target.is_dir():
            raise InputError(f"--out {target} is a folder: name a file in it, such as {target / PAGE}")
        check_output(target, functools.partial(is_marked, mark=MARKS[form]), paths)

    def echo(line: str) -> None:
        if not quiet:
            click.echo(without_controls(line), err=True)

    def show(kind: str, written: Path) -> None:
        click.echo(without_controls(str(written) if quiet else f"{kind}: {written}"))

    from deepal_autoal.report import make_contents, write_page, write_plots
    from deepal_autoal.report.figure_list import Drawings
    from deepal_autoal.report.tables.all_tables import make_tables
    from deepal_autoal.report.tables.table import find_table
    from deepal_autoal.report.text_formats import LATEX_TABLES, MARKDOWN_TABLES, to_csv, to_latex, to_markdown

    contents = make_contents(paths, baseline)
    # The page creates its own tables.
    tables = () if form == "html" else make_tables(contents)
    chosen = tuple(find_table(tables, name) for name in names)
    n_runs, n_begun = len(contents.study.results.runs), len(contents.study.unfinished)
    echo(
        f"{n_runs} finished {'run' if n_runs == 1 else 'runs'}"
        + (f"; left out as not finished: {n_begun}" if n_begun else "")
    )
    drawings = Drawings(contents, echo)
    if form == "html":
        assert target is not None
        write_page(drawings, target)
        show("Report", target)
    elif form == "csv":
        if out is None:
            if len(chosen) > 1:
                raise InputError("--table: one CSV holds one table; name one, or give a folder with --out")
            click.echo(to_csv(*(chosen or (find_table(tables, "accuracy"),))), nl=False)
        else:
            if os.path.lexists(out) and not out.is_dir():
                raise InputError(f"--out {out} is not a folder; csv writes a file for each table: name a folder")
            texts = {out / f"{table.name}.csv": to_csv(table) for table in chosen or tables}
            for path, text in texts.items():
                check_output(path, functools.partial(_has_columns_of, text), paths)
            for path, text in texts.items():
                _write(path, text)
            show("Tables", out)
    else:
        defaults = MARKDOWN_TABLES if form == "markdown" else LATEX_TABLES
        shown = chosen or tuple(table for table in tables if table.name in defaults)
        text = (
            to_markdown(contents, shown, complete=not names)
            if form == "markdown"
            else to_latex(shown, contents.study.results.datasets)
        )
        if out is None:
            click.echo(text, nl=False)
        else:
            mark = MARKS[form].decode()
            _write(out, f"{text}\n<!-- {mark} -->\n" if form == "markdown" else f"{text}% {mark}\n")
            show("Report", out)
    if plots is not None:
        n_plots = write_plots(drawings, plots)
        echo(f"{n_plots} figures, as PNG and SVG: {plots}")


def _page_target(paths: tuple[Path, ...], out: Path | None) -> Path:
    if out is not None:
        return out
    if len(paths) > 1:
        raise InputError(f"several PATHs: give a file for the page, such as --out {PAGE}")
    # Beside a file, a name of its own: the folder's page may show more runs.
    return paths[0] / PAGE if paths[0].is_dir() else paths[0].with_name(f"{paths[0].stem}-{PAGE}")


def _has_columns_of(text: str, path: Path) -> bool:
    """Return whether a file's first column is a table's, whose later ones may be names of strategies."""
    with open(path, "rb") as file:
        return file.readline(4096).split(b",")[0].strip() == text.partition(",")[0].encode()


def _write(path: Path, text: str) -> None:
    from deepal_autoal.files import write_bytes

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot create {path.parent}: {error.strerror}; choose another --out") from error
    write_bytes(path, text.encode("utf-8", "replace"))
