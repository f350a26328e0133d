"""Draws each strategy's accuracy against its time."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from deepal_autoal.errors import InputError
from deepal_autoal.experiment.results import FinishedRun, Results
from deepal_autoal.report.figures import canvas
from deepal_autoal.report.figures.end_labels import LINE_HEIGHT, draw_end_labels, label_width
from deepal_autoal.report.figures.runs import runs_on
from deepal_autoal.report.style import Style, figure_id
from deepal_autoal.report.wording import format_seeds, listed, percent
from deepal_autoal.statistics import estimate, relative_phase_times
from deepal_autoal.statistics.times import REFERENCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Phase = Literal["total", "query"]
_TICKS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (3, (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)), (10, (1, 1.5, 2, 3, 5, 7)), (200, (1, 2, 5)), (math.inf, (1,)),
)  # fmt: skip
_TIMES = "\N{MULTIPLICATION SIGN}"
_WORDS = {"total": "time of whole runs", "query": "time of choosing batches"}


@canvas.drawing()
def time_against_accuracy(
    results: Results,
    dataset: str,
    styles: Mapping[str, Style],
    *,
    phase: Phase = "total",
    reference: str = REFERENCE,
    id_prefix: str | None = None,
) -> Figure:
    """Draw AUBC with its 95% bootstrap interval against time in units of a reference strategy's, on a log scale.

    Without runs of the reference, times are seconds a run. Strategies without a positive time are named in the note.

    Args:
        results: Finished runs.
        dataset: The dataset to draw.
        styles: Styles of all its strategies.
        phase: ``total`` for whole runs, ``query`` for choosing batches only.
        reference: The strategy whose time is 1.
        id_prefix: The figure's id; derived from phase and dataset by default.

    Raises:
        InputError: If there are no runs on the dataset, or none with a time.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    runs = runs_on(results, dataset)
    times, is_relative = _times(runs, phase, reference)
    if not times:
        raise InputError(f"the runs on {dataset} have no times: there is nothing to draw")
    areas = {label: estimate([run.aubc for run in runs[label].values()]) for label in times}
    unit = f"units of {reference}'s" if is_relative else "seconds a run"
    note = f"AUBC: mean over {format_seeds({label: runs[label] for label in times})}"
    note += "; lines: 95% bootstrap interval. " if any(len(runs[label]) > 1 for label in times) else ". "
    note += (
        f"Time in units of {reference}'s on the same seeds."
        if is_relative
        else f"Time in seconds a run, as {reference} was not run."
    )
    note += " Upper left is best: accurate and fast. Dotted lines lead to the labels. "
    note += "Times depend on the machine and its load."
    missing = sorted(set(runs) - set(times))
    if missing:
        note += f" Without a time to compare: {listed(missing)}."
    height = max(240.0, LINE_HEIGHT * len(times) + 10)
    figure = canvas.new_figure(
        height + 56,
        id_prefix or figure_id(f"time-{phase}", dataset),
        f"{dataset}: {_WORDS[phase]} against accuracy",
        note,
    )
    right = label_width(list(times), styles) + canvas.MARGIN
    axes = canvas.add_axes(figure, 52, 40, canvas.WIDTH - 52 - right, height)
    axes.set_xscale("log")
    low, high = min(times.values()), max(times.values())
    room = max(high / low, 1.5) ** 0.06
    axes.set_xlim(low / room, high * room)
    bottom, upper = min(area.low for area in areas.values()), max(area.high for area in areas.values())
    margin = 0.05 * (upper - bottom) or 0.01
    axes.set_ylim(bottom - margin, upper + margin)
    # Narrow ranges need ticks between the powers of ten.
    subs = next(subs for most, subs in _TICKS if high / low < most)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}{_TIMES}" if is_relative else f"{x:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.6g}%"))
    axes.grid(True, color=canvas.GRID, linewidth=0.6)
    axes.set_xlabel(canvas.shorten(f"{_WORDS[phase]} in {unit} (log scale)", 300))
    canvas.name_vertical_axis(axes, "AUBC")
    tips = {}
    for label, time in times.items():
        area, style = areas[label], styles[label]
        spread = f" ({percent(area.low, 1)}% to {percent(area.high, 1)}%)" if area.n_seeds > 1 else ""
        tips[label] = f"{label}: AUBC {percent(area.mean, 1)}%{spread}, {time:.3g}{_TIMES if is_relative else ' s'}"
        if area.n_seeds > 1:
            (interval,) = axes.plot(
                [time, time], [area.low, area.high], color=style.color, linewidth=2.2 if style.is_highlighted else 1.2,
                solid_capstyle="butt", alpha=0.7,
            )  # fmt: skip
            canvas.mark(interval, label, "interval", styles, tips[label])
        (point,) = axes.plot(
            [time], [area.mean], color=style.color, marker=style.marker, zorder=3, markeredgecolor="white",
            markeredgewidth=0.5, markersize=8.5 if style.is_highlighted else 6.5,
        )  # fmt: skip
        canvas.mark(point, label, "point", styles, tips[label])
    draw_end_labels(axes, {label: (times[label], areas[label].mean) for label in times}, styles, tips, (1, 3))
    return figure


def _times(
    runs: Mapping[str, Mapping[int, FinishedRun]], phase: Phase, reference: str
) -> tuple[dict[str, float], bool]:
    """Return times above 0 by strategy, and whether they are in units of the reference's."""
    relative = {label: getattr(found, phase) for label, found in relative_phase_times(runs, reference).items()}
    times = {label: time for label, time in relative.items() if time}
    if times:
        return times, True

    def seconds(run: FinishedRun) -> float:
        return run.total_seconds if phase == "total" else run.phase_seconds(phase) or 0.0

    means = {label: statistics.fmean(map(seconds, by_seed.values())) for label, by_seed in runs.items()}
    return {label: mean for label, mean in means.items() if mean > 0}, False
