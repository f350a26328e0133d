"""Draws accuracy against labels, strategy by strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deepal_autoal.experiment.results import Results
from deepal_autoal.report.figures import canvas
from deepal_autoal.report.figures.curves import common_curve, draw_curves
from deepal_autoal.report.figures.end_labels import LINE_HEIGHT, label_width
from deepal_autoal.report.figures.runs import runs_on
from deepal_autoal.report.style import Style, figure_id
from deepal_autoal.report.wording import format_seeds, listed, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@canvas.drawing()
def learning_curves(
    results: Results, dataset: str, styles: Mapping[str, Style], *, id_prefix: str | None = None
) -> Figure:
    """Draw each strategy's mean accuracy against the number of labels, with 95% bootstrap intervals over seeds.

    A strategy's curve covers the label counts that all its seeds have; the note says if other rounds are left out.

    Args:
        results: Finished runs.
        dataset: The dataset to draw.
        styles: Styles of all its strategies.
        id_prefix: The figure's id; derived from the dataset by default.

    Raises:
        InputError: If there are no runs on the dataset.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    runs = runs_on(results, dataset)
    points = {
        label: [dict(zip(run.n_labeled, run.accuracy, strict=True)) for run in by_seed.values()]
        for label, by_seed in runs.items()
    }
    curves = {label: common_curve([dict(values) for values in by_seed]) for label, by_seed in points.items()}
    cut = [
        label
        for label, curve in curves.items()
        if {at for values in points[label] for at in values} != set(curve.x)
        or any(found.n_seeds < len(points[label]) for found in curve.estimates)
    ]
    seeds = format_seeds(runs)
    is_single = all(len(by_seed) == 1 for by_seed in runs.values())
    note = "One seed: nothing shows how far chance alone moves these curves." if is_single else (
        f"Mean over {seeds}; shaded: 95% bootstrap interval of the mean."
    )  # fmt: skip
    if cut:
        note += f" Not all seeds have the same rounds; only rounds that all have are drawn: {listed(cut)}."
    tips = {}
    for label, curve in curves.items():
        end = curve.estimates[-1]
        spread = f" ({percent(end.low, 1)}% to {percent(end.high, 1)}%)" if end.n_seeds > 1 else ""
        tips[label] = (
            f"{label}: {percent(end.mean, 1)}%{spread} at {curve.x[-1]:g} labels, {format_seeds({label: runs[label]})}"
        )
    height = max(250.0, 1.25 * LINE_HEIGHT * len(runs))
    figure = canvas.new_figure(
        height + 56,
        id_prefix or figure_id("learning-curves", dataset),
        f"{dataset}: accuracy by number of labels",
        note,
    )
    right = label_width(list(runs), styles) + canvas.MARGIN
    axes = canvas.add_axes(figure, 48, 40, canvas.WIDTH - 48 - right, height)
    axes.set_xlabel("labels")
    canvas.name_vertical_axis(axes, "test accuracy")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.6g}%"))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    draw_curves(axes, curves, styles, tips)
    return figure
