"""Draws how much better than random each strategy is: the figure to read first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deepal_autoal.errors import InputError
from deepal_autoal.experiment.results import Results
from deepal_autoal.report.figures import canvas
from deepal_autoal.report.figures.runs import runs_on
from deepal_autoal.report.style import NEUTRAL, Style, figure_id
from deepal_autoal.report.wording import format_seeds, listed, points
from deepal_autoal.statistics import Comparison, compare_to
from deepal_autoal.statistics.paired import MIN_SEEDS
from deepal_autoal.statistics.savings import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 14.0
WIDTH_OF_NUMBERS = 128.0


@canvas.drawing()
def deltas(
    results: Results,
    dataset: str,
    styles: Mapping[str, Style],
    *,
    baseline: str = BASELINE,
    id_prefix: str | None = None,
) -> Figure:
    """Draw each strategy's mean paired difference of AUBC to a baseline with its interval, the best on top.

    All means are over the same seeds (see `same_seeds`). A filled marker means that the difference is significant at
    5% after Holm's correction over the figure's rows.

    Args:
        results: Finished runs.
        dataset: The dataset to draw.
        styles: Styles of all its strategies.
        baseline: The strategy that the others are compared to.
        id_prefix: The figure's id; derived from the dataset by default.

    Raises:
        InputError: If there are no runs on the dataset, none of the baseline, or none to compare to it.
    """
    runs = runs_on(results, dataset)
    if baseline not in runs or len(runs) < 2:
        raise InputError(
            f"{dataset} has no runs of {baseline} to compare to: run it too"
            if baseline not in runs
            else f"{dataset} has only runs of {baseline}: run another strategy too"
        )
    seeds, left_out = same_seeds({label: set(by_seed) for label, by_seed in runs.items()}, baseline)
    areas = {
        label: {seed: by_seed[seed] for seed in seeds}
        for label, by_seed in results.areas(dataset).items()
        if label not in left_out
    }
    if len(areas) < 2:
        raise InputError(f"no strategy on {dataset} has half of {baseline}'s seeds: run those that are missing")
    rows = sorted(compare_to(areas, baseline), key=lambda row: (-row.difference.mean, row.ours))
    height = ROW * max(len(rows), 3)
    figure = canvas.new_figure(
        height + 58, id_prefix or figure_id("deltas", dataset),
        f"{dataset}: how much better than {baseline}", _note(runs, seeds, left_out, baseline),
    )  # fmt: skip
    names = {
        row.ours: canvas.shorten(row.ours, canvas.LABEL_WIDTH, bold=styles[row.ours].is_highlighted) for row in rows
    }
    left = canvas.MARGIN + 10 + max(
        canvas.text_width(name, canvas.FONT_SIZE, styles[row].is_highlighted) for row, name in names.items()
    )  # fmt: skip
    width = canvas.WIDTH - left - WIDTH_OF_NUMBERS
    axes = canvas.add_axes(figure, left, 40, width, height)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x", color=canvas.GRID, linewidth=0.6)
    axes.axvline(0, color=NEUTRAL, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    axes.set_xlabel(f"difference of AUBC to {canvas.shorten(baseline, 80)}, in percentage points")
    axes.text(
        1 + 10 / width, 1 + 3 / height, "mean [95% interval]", transform=axes.transAxes,
        color=canvas.MUTED, fontsize=canvas.SMALL,
    )  # fmt: skip
    for place, row in enumerate(rows):
        found, style = row.difference, styles[row.ours]
        numbers = f"{points(found.mean)} [{points(found.low)}, {points(found.high)}]" if found.n_seeds > 1 else (
            points(found.mean)
        )  # fmt: skip
        tip = (
            f"{row.ours}: {numbers} points, above {baseline} on {found.n_above} of {found.n_seeds} seeds{_verdict(row)}"
        )
        weight = "bold" if style.is_highlighted else "normal"
        if found.n_seeds > 1:
            (interval,) = axes.plot(
                [100 * found.low, 100 * found.high], [place, place], color=style.color, solid_capstyle="butt",
                linewidth=2.6 if style.is_highlighted else 1.6,
            )  # fmt: skip
            canvas.mark(interval, row.ours, "interval", styles, tip)
        (mean,) = axes.plot(
            [100 * found.mean], [place], color=style.color, marker=style.marker, markersize=6, markeredgewidth=1.2,
            markeredgecolor=style.color, markerfacecolor=style.color if row.winner else "white", zorder=3,
        )  # fmt: skip
        canvas.mark(mean, row.ours, "point", styles, tip)
        label = axes.text(
            -8 / width, place, names[row.ours], transform=axes.get_yaxis_transform(),
            ha="right", va="center_baseline", fontweight=weight,
        )  # fmt: skip
        canvas.mark(label, row.ours, "label", styles, tip)
        text = axes.text(
            1 + 10 / width, place, numbers, transform=axes.get_yaxis_transform(),
            va="center_baseline", fontsize=canvas.SMALL,
        )  # fmt: skip
        canvas.mark(text, row.ours, "numbers", styles, tip)
    _name_side(axes, canvas.shorten(baseline, 80), width)
    return figure


def _name_side(axes: Axes, baseline: str, width: float) -> None:
    """Write above the zero line what one side of it means; the right side if there is room."""
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0), max(high, 0))
    low, high = axes.get_xlim()
    better = f"better than {baseline} \N{RIGHTWARDS ARROW}"
    has_room = width * high / (high - low) > canvas.text_width(better, canvas.SMALL)
    axes.annotate(
        better if has_room else f"\N{LEFTWARDS ARROW} worse than {baseline}", (0, 1), (4 if has_room else -4, 3),
        xycoords=("data", "axes fraction"), textcoords="offset points", ha="left" if has_room else "right",
        color=canvas.MUTED, fontsize=canvas.SMALL, annotation_clip=False,
    )  # fmt: skip


def same_seeds(seeds: Mapping[str, set[int]], baseline: str) -> tuple[list[int], list[str]]:
    """Return the seeds to compare all strategies on, and the strategies that lack too many of them.

    Strategies are added in descending order of seeds in common with the baseline, as long as the seeds that all have
    are at least half of the baseline's: one strategy that failed does not take away the others' seeds.

    Args:
        seeds: By strategy.
        baseline: One of them.

    Returns:
        The seeds and the strategies left out, both sorted.
    """
    common = set(seeds[baseline])
    left_out = []
    others = sorted(set(seeds) - {baseline}, key=lambda label: (-len(seeds[label] & seeds[baseline]), label))
    for label in others:
        if 2 * len(common & seeds[label]) >= len(seeds[baseline]):
            common &= seeds[label]
        else:
            left_out.append(label)
    return sorted(common), sorted(left_out)


def _verdict(row: Comparison) -> str:
    if row.difference.n_seeds < MIN_SEEDS:
        return ""
    return "; significant" if row.winner else "; not significant"


def _note(runs: Mapping[str, Mapping[int, object]], seeds: list[int], left_out: list[str], baseline: str) -> str:
    note = f"Mean paired difference of the area under the learning curve (AUBC) over {format_seeds({'': seeds})}"
    note += ", the same for all" if len(seeds) > 1 else ""
    note += "; lines: 95% bootstrap interval. " if len(seeds) > 1 else ". One seed shows no interval. "
    if len(seeds) >= MIN_SEEDS:
        note += "Filled: significant at 5% after Holm's correction; hollow: not shown to differ."
    else:
        note += f"Too few seeds for any test: below {MIN_SEEDS} nothing is called different, and all are hollow."
    if any(set(by_seed) != set(seeds) for label, by_seed in runs.items() if label not in left_out):
        note += " Seeds that any of them lacks are left out."
    if left_out:
        note += f" Left out because they lack too many of {baseline}'s seeds: {listed(left_out)}."
    return note
