"""Renders the report as one self-contained HTML page, with its style, script and figures inline."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from deepal_autoal.errors import without_controls
from deepal_autoal.isolation.blame import BUILTIN_DISTRIBUTION
from deepal_autoal.report import wording
from deepal_autoal.report.figure_list import Drawing, Drawings
from deepal_autoal.report.findings import find_findings, find_findings_over_datasets, in_one_sentence
from deepal_autoal.report.report_data import BETTER, UNDECIDED, UNTESTED, WORSE
from deepal_autoal.report.style import slug, swatch
from deepal_autoal.report.tables.all_tables import make_tables
from deepal_autoal.report.tables.table import Column, Row, Table

# The drawings before the tables of a dataset's section, and those tables, in the order in which a newcomer reads them.
BEFORE_TABLES = ("deltas", "learning-curves")
TABLES = ("accuracy", "wins", "regret", "cost")
VERDICT_CLASSES = {BETTER: "better", WORSE: "worse", UNDECIDED: "undecided", UNTESTED: "undecided"}


@dataclass(frozen=True)
class Section:
    """A dataset's part of the page."""

    dataset: str
    key: str
    findings: list[str]
    drawings: list[Drawing]
    more_drawings: list[Drawing]
    notes: list[str]
    tables: list[Table]
    cautions: list[str]


def render_page(drawings: Drawings) -> str:
    """Return the page with a report's figures, tables and text."""
    import jinja2

    folder = files("deepal_autoal.report")
    # Everything is escaped except what the template marks as safe.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    template = environment.from_string((folder / "page.html.template").read_text(encoding="utf-8"))
    text = template.render(
        css=(folder / "page.css").read_text(encoding="utf-8"),
        script=(folder / "page.js").read_text(encoding="utf-8"),
        **_values(drawings),
    )
    return without_controls(text)


def _values(drawings: Drawings) -> dict[str, Any]:
    contents = drawings.contents
    study = contents.study
    every = make_tables(contents)
    tables = {table.name: table for table in every}
    sections = [_section(drawings, every, dataset, number) for number, dataset in enumerate(contents.by_dataset)]
    cautions = [caution.message for caution in contents.cautions if len(contents.by_dataset) > 1]
    return {
        "version": version(BUILTIN_DISTRIBUTION),
        "sentence": in_one_sentence(contents),
        "legend": [(name, drawings.styles[name], swatch(drawings.styles[name])) for name in study.strategies],
        "sections": sections,
        "cautions": cautions or [caution.message for caution in contents.cautions],
        "notes": study.notes,
        "over": drawings.over_datasets(),
        "over_findings": find_findings_over_datasets(contents),
        "tables": tables,
        "baseline": contents.baseline,
        "n_unfinished": len(study.unfinished),
        "keys": {name: style.key for name, style in drawings.styles.items()},
        "cell": _cell_class,
        "sort_value": _sort_value,
        "number_of": wording.number_of,
    }


def _section(drawings: Drawings, tables: Sequence[Table], dataset: str, number: int) -> Section:
    contents, found = drawings.contents, drawings.of(dataset)
    own = {table.name: table.on(dataset) for table in tables if table.by_dataset}
    return Section(
        dataset,
        f"{slug(dataset)}-{number}",
        find_findings(contents, dataset),
        [drawing for drawing in found if drawing.kind in BEFORE_TABLES],
        [drawing for drawing in found if drawing.kind not in BEFORE_TABLES],
        drawings.notes(dataset),
        [own[name] for name in TABLES if name in own and own[name].rows],
        [caution.message for caution in contents.cautions if caution.dataset == dataset],
    )


def _cell_class(column: Column, row: Row) -> str:
    names = [] if column.is_numeric else ["text"]
    if column.marks_best and row.get("standing"):
        names.append(row["standing"])
    if column.key == "verdict":
        names.append(VERDICT_CLASSES.get(row["verdict"], "plain"))
    return " ".join(names)


def _sort_value(column: Column, row: Row) -> str | None:
    """Return what a cell is sorted by, "" for a missing value; None if that is the shown text."""
    value = row[column.key]
    if value is None:
        return ""
    sorted_by, shown = f"{value:.7g}" if isinstance(value, float) else str(value), column.show(row)
    if not column.is_numeric:
        return None if shown == sorted_by else sorted_by
    with suppress(ValueError):
        if float(shown) == float(sorted_by):
            return None
    return sorted_by
