"""The figures of a report: functions that take data and return a matplotlib figure. Import this only to draw.

Every mark of a strategy has the id ``FIGURE--KEY--PART``, with the figure's own id and the strategy's key
(`deepal_autoal.report.style.Style`), so a page can hide or show all marks of a strategy. matplotlib is
imported when a figure is drawn, and pyplot never: no global state is changed.
"""

from __future__ import annotations

from deepal_autoal.report.figures.candidate_weights import candidate_weights
from deepal_autoal.report.figures.critical_difference import critical_difference
from deepal_autoal.report.figures.deltas import deltas
from deepal_autoal.report.figures.first_picks import first_picks
from deepal_autoal.report.figures.learning_curves import learning_curves
from deepal_autoal.report.figures.output import to_png, to_svg, to_svg_file
from deepal_autoal.report.figures.penalty_heat_map import penalty_heat_map
from deepal_autoal.report.figures.time_against_accuracy import time_against_accuracy

__all__ = [
    "candidate_weights",
    "critical_difference",
    "deltas",
    "first_picks",
    "learning_curves",
    "penalty_heat_map",
    "time_against_accuracy",
    "to_png",
    "to_svg",
    "to_svg_file",
]
