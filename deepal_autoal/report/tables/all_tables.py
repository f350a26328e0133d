"""Creates all tables of a report, in reading order."""

from __future__ import annotations

from deepal_autoal.report.report_data import Contents
from deepal_autoal.report.tables.dataset_tables import accuracy_table, cost_table, regret_table, wins_table
from deepal_autoal.report.tables.overall_tables import cautions_table, pairs_table, penalty_table, ranking_table
from deepal_autoal.report.tables.record_tables import (
    audit_table,
    runs_table,
    settings_table,
    strategies_table,
    unfinished_table,
    versions_table,
    weights_table,
)
from deepal_autoal.report.tables.table import Table

_MAKERS = (
    accuracy_table, wins_table, regret_table, cost_table, penalty_table, ranking_table, pairs_table, weights_table,
    audit_table, runs_table, cautions_table, strategies_table, settings_table, versions_table, unfinished_table,
)  # fmt: skip


def make_tables(contents: Contents) -> tuple[Table, ...]:
    """Return all tables that have rows."""
    tables = (make(contents) for make in _MAKERS)
    return tuple(table for table in tables if table.rows)
