"""Draws which candidates a selector trusts, round by round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deepal_autoal.errors import InputError
from deepal_autoal.report.figures import canvas
from deepal_autoal.report.figures.curves import Curve, draw_curves
from deepal_autoal.report.figures.end_labels import LINE_HEIGHT, label_width
from deepal_autoal.report.style import NEUTRAL, Style, figure_id
from deepal_autoal.report.wording import format_seeds, percent
from deepal_autoal.statistics import estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@canvas.drawing()
def candidate_weights(
    weights: Mapping[str, npt.NDArray[Any]],
    label: str,
    dataset: str,
    styles: Mapping[str, Style],
    *,
    id_prefix: str | None = None,
) -> Figure:
    """Draw each candidate's mean weight against the round, with 95% bootstrap intervals over seeds.

    Lines show which candidate leads, and by how much; stacked areas would show only the course of the lowest one. The
    dashed line is the weight if all were equal.

    Args:
        weights: (seeds, rounds) for each candidate, all of the same shape, from round 0; NaN if a seed has no such
            round, which counts as missing.
        label: The selector's label.
        dataset: The dataset's label.
        styles: Styles of the candidates.
        id_prefix: The figure's id; derived from label and dataset by default.

    Raises:
        InputError: If there is no candidate, or the shapes differ, or a candidate has no weight at all.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    arrays = {name: np.asarray(values, dtype=float) for name, values in weights.items()}
    shapes = {values.shape for values in arrays.values()}
    if len(shapes) != 1 or any(len(shape) != 2 for shape in shapes):
        raise InputError(
            f"weights of {label} must be (seeds, rounds), the same for all candidates, not {sorted(shapes)}"
        )
    curves = {name: _curve(values, name) for name, values in arrays.items()}
    n_seeds = next(iter(shapes))[0]
    note = f"Mean over {format_seeds({label: range(n_seeds)})}"
    note += "; shaded: 95% bootstrap interval of the mean. " if n_seeds > 1 else ". "
    note += f"Dashed: equal weights for all {len(curves)} candidates."
    tips = {}
    for name, curve in curves.items():
        end = curve.estimates[-1]
        spread = f" ({percent(end.low, 1)}% to {percent(end.high, 1)}%)" if end.n_seeds > 1 else ""
        tips[name] = f"{name}: {percent(end.mean, 1)}%{spread} in round {curve.x[-1]:g}"
    height = max(210.0, LINE_HEIGHT * len(curves) + 10)
    prefix = id_prefix or figure_id(figure_id("weights", label), dataset)
    figure = canvas.new_figure(height + 56, prefix, f"{dataset}: how {label} weighs its candidates", note)
    right = label_width(list(curves), styles) + canvas.MARGIN
    axes = canvas.add_axes(figure, 48, 40, canvas.WIDTH - 48 - right, height)
    axes.set_xlabel("round (after which the batch is chosen)")
    canvas.name_vertical_axis(axes, "mean weight")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.6g}%"))
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.axhline(1 / len(curves), color=NEUTRAL, linewidth=1, linestyle=(0, (4, 2)), zorder=0.9)
    draw_curves(axes, curves, styles, tips)
    return figure


def _curve(values: npt.NDArray[Any], name: str) -> Curve:
    by_round = [column[np.isfinite(column)].tolist() for column in values.T]
    found = {number: estimate(column) for number, column in enumerate(by_round) if column}
    if not found:
        raise InputError(f"candidate {name} has no weight in any round: leave it out")
    return Curve(tuple(map(float, found)), tuple(found.values()))
