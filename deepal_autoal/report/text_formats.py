"""Writes the report as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from deepal_autoal.errors import without_controls
from deepal_autoal.files import spreadsheet_text
from deepal_autoal.report.findings import find_findings, find_findings_over_datasets, in_one_sentence
from deepal_autoal.report.report_data import Contents
from deepal_autoal.report.style import figure_id
from deepal_autoal.report.tables.table import BEST, LIKE_BEST, Column, Row, Table

# The default tables of each format; `--table` selects others.
MARKDOWN_TABLES = ("accuracy", "wins", "regret", "cost", "penalties", "ranking")
LATEX_TABLES = ("accuracy",)


def to_csv(table: Table) -> str:
    """Return a table's raw values as CSV; missing values are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, table.keys, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in table.rows:
        cells = {key: row.get(key) for key in table.keys}
        writer.writerow({key: spreadsheet_text(cell) if isinstance(cell, str) else cell for key, cell in cells.items()})
    return without_controls(text.getvalue())


def to_markdown(contents: Contents, tables: Sequence[Table], complete: bool) -> str:
    """Return tables in GitHub's Markdown.

    Args:
        contents: The report's contents.
        tables: The tables to write.
        complete: Whether to add findings and cautions.
    """
    lines = ["# Active learning strategies compared", "", _markdown(in_one_sentence(contents)), ""] if complete else []
    datasets = contents.study.results.datasets
    if complete:
        cautions = [caution.message for caution in contents.cautions] + list(contents.study.notes)
        if contents.study.unfinished:
            cautions.append(f"Runs that have not finished are left out: {len(contents.study.unfinished)}.")
        if cautions:
            lines += ["**Cautions**", "", *(f"- {_markdown(line)}" for line in cautions), ""]
    for dataset in datasets:
        own = [(table, table.on(dataset)) for table in tables if table.by_dataset]
        if not any(part.rows for _, part in own):
            continue
        lines += [f"## {_markdown(dataset)}", ""]
        if complete:
            lines += [*(f"- {_markdown(line)}" for line in find_findings(contents, dataset)), ""]
        for table, part in own:
            if part.rows:
                lines += [f"### {table.title}", "", *_markdown_table(part), ""]
    for table in tables:
        if not table.by_dataset:
            lines += [f"## {table.title}", ""]
            if complete and table.name == "ranking":
                lines += [*(f"- {_markdown(line)}" for line in find_findings_over_datasets(contents)), ""]
            lines += [*_markdown_table(table), ""]
    return without_controls("\n".join(lines).rstrip("\n")) + "\n"


def _markdown_table(table: Table) -> Iterator[str]:
    yield "| " + " | ".join(_markdown(column.title) for column in table.columns) + " |"
    yield "|" + "|".join("---:" if column.is_numeric else "---" for column in table.columns) + "|"
    for row in table.rows:
        yield "| " + " | ".join(_markdown_cell(column, row) for column in table.columns) + " |"
    if table.note:
        yield ""
        yield _markdown(table.note)


def _markdown_cell(column: Column, row: Row) -> str:
    text = _markdown(column.show(row))
    if not column.marks_best:
        return text
    return {BEST: f"**{text}**", LIKE_BEST: f"<ins>{text}</ins>"}.get(row.get("standing", ""), text)


def _markdown(text: str) -> str:
    """Return text with Markdown and HTML escaped."""
    escaped = re.sub(r"([\\`*_\[\]|~#$!])", r"\\\1", text)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


def to_latex(tables: Sequence[Table], datasets: Sequence[str]) -> str:
    """Return tables for booktabs; tables by dataset give one for each dataset."""
    parts = []
    for table in tables:
        for dataset in datasets if table.by_dataset else [None]:
            part = table if dataset is None else table.on(dataset)
            if part.rows:
                parts.append("\n".join(_latex_table(part, dataset)))
    text = without_controls("\n\n".join(parts))
    head = "% \\usepackage{booktabs}\n"
    if not text.isascii():
        head += "% Letters that pdfLaTeX does not know need XeLaTeX or LuaLaTeX, and a font that has them.\n"
    return f"{head}\n{text}\n"


def _latex_table(table: Table, dataset: str | None) -> Iterator[str]:
    title = table.title if dataset is None else f"{table.title} on {dataset}"
    yield "\\begin{table}"
    yield "\\centering"
    yield f"\\caption{{{_latex(' '.join([title + '.', table.note]).strip())}}}"
    yield f"\\label{{tab:{figure_id(table.name, dataset or '')}}}"
    yield f"\\begin{{tabular}}{{{''.join('r' if column.is_numeric else 'l' for column in table.columns)}}}"
    yield "\\toprule"
    yield " & ".join(_latex(column.title) for column in table.columns) + " \\\\"
    yield "\\midrule"
    for row in table.rows:
        yield " & ".join(_latex_cell(column, row) for column in table.columns) + " \\\\"
    yield "\\bottomrule"
    yield "\\end{tabular}"
    yield "\\end{table}"


def _latex_cell(column: Column, row: Row) -> str:
    text = _latex(column.show(row))
    if not column.marks_best:
        return text
    wrapped = {BEST: "\\textbf{%s}", LIKE_BEST: "\\underline{%s}"}.get(row.get("standing", ""), "%s")
    return wrapped % text


# Placeholder for a hyphen before another one until everything else is escaped.
_HYPHEN = "\0"
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "±": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    # After the end of a row, \\ would take a star as its own.
    "*": "{*}", "|": r"\textbar{}", "`": r"\textasciigrave{}",
    "\N{EN DASH}": "--", "→": r"$\rightarrow$", "\N{MULTIPLICATION SIGN}": r"$\times$", "[": "{[}", "]": "{]}",
}  # fmt: skip


def _latex(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in re.sub("-(?=-)", _HYPHEN, text))
    return escaped.replace(_HYPHEN, "-{}")
