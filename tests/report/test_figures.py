"""Figures show the data's numbers, marks have their strategy's id, and labels do not overlap."""

import itertools
import re
import statistics
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from deepal_autoal.errors import InputError
from deepal_autoal.experiment.results import FinishedRun, Results
from deepal_autoal.report import figures
from deepal_autoal.report.figures.deltas import same_seeds
from deepal_autoal.report.style import assign_styles
from deepal_autoal.statistics import bootstrap_interval, mean_areas, penalty_matrix, rank

# Labels that a user may give a strategy.
ODD = ('$x^2$ & <b>"q"</b>', "_hidden", "a b", "a-b", "A--B", "\u6df7\u5408-\u7b56\u7565", "line\nbreak\x00", "w" * 90)


def marks(figure):
    """Return a figure's marks by id."""
    found = {str(artist.get_gid()): artist for artist in figure.findobj() if "--" in str(artist.get_gid() or "")}
    assert all(gid.startswith(f"{figure.get_gid()}--") for gid in found)
    return found


def part(figure, styles, label, name):
    return marks(figure)[f"{figure.get_gid()}--{styles[label].key}--{name}"]


def notes(figure):
    return " ".join(text.get_text() for text in figure.texts)


def draw_all(results, styles, dataset="digits"):
    """Return one figure of each kind."""
    weights = np.random.default_rng(0).dirichlet(np.ones(len(styles)), (3, 5))
    images = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8)
    ranking = rank(mean_areas(results))
    drawn = [
        figures.learning_curves(results, dataset, styles),
        figures.time_against_accuracy(results, dataset, styles),
        figures.time_against_accuracy(results, dataset, styles, phase="query"),
        figures.penalty_heat_map(penalty_matrix(results), styles),
        figures.candidate_weights({label: weights[:, :, i] for i, label in enumerate(styles)}, "s", dataset, styles),
        figures.first_picks(dict.fromkeys(styles, images), dataset, styles),
    ]
    if "random" in styles and len(styles) > 1:
        drawn.append(figures.deltas(results, dataset, styles))
    if ranking is not None:
        drawn.append(figures.critical_difference(ranking, styles))
    return drawn


def assert_apart(figure):
    """Assert that no two texts overlap and none is cut off, as measured by matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    from deepal_autoal.report.figures.canvas import drawing

    renderer = FigureCanvasAgg(figure).get_renderer()
    with drawing():
        figure.draw(renderer)
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    # Ticks beyond the limits are not drawn, but findobj returns them.
    outer = [text for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for text in axis.get_ticklabels()]
    texts = [text for text in texts if text not in outer]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    for text, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text
    for (one, box), (other, box_of_other) in itertools.combinations(boxes, 2):
        across = min(box.x1, box_of_other.x1) - max(box.x0, box_of_other.x0)
        along = min(box.y1, box_of_other.y1) - max(box.y0, box_of_other.y0)
        assert across < 0.5 or along < 2.0, (one, other)  # a line's box is higher than its letters


def test_learning_curves_draw_means_and_intervals(make_results, styles_of):
    results = make_results(["random", "b"])
    styles = styles_of(results)
    figure = figures.learning_curves(results, "digits", styles)
    for label, by_seed in results.on("digits").items():
        line = part(figure, styles, label, "line")
        table = np.array([run.accuracy for run in by_seed.values()])
        assert line.get_xdata().tolist() == [20, 30, 40, 50, 60]
        np.testing.assert_allclose(line.get_ydata(), table.mean(axis=0))
        lows, highs = zip(*(bootstrap_interval(column.tolist()) for column in table.T), strict=True)
        corners = part(figure, styles, label, "band").get_xy()[:-1]  # closed
        np.testing.assert_allclose(corners[:5, 1], lows)
        np.testing.assert_allclose(corners[5:, 1], highs[::-1])
        assert line.get_color() == styles[label].color
    assert "5 seeds" in notes(figure) and "Not all seeds" not in notes(figure)


def test_labels_are_in_the_order_of_their_curves_ends(make_results, styles_of, many):
    results = make_results(many)
    styles = styles_of(results)
    figure = figures.learning_curves(results, "digits", styles)
    ends = {label: part(figure, styles, label, "line").get_ydata()[-1] for label in many}
    heights = {label: part(figure, styles, label, "label").get_position()[1] for label in many}
    assert sorted(many, key=ends.get) == sorted(many, key=heights.get)
    for label in many:
        # The leader starts where the line ends.
        leader = part(figure, styles, label, "leader")
        axes = leader.axes
        x, y = axes.transData.inverted().transform(
            axes.transAxes.transform((leader.get_xdata()[0], leader.get_ydata()[0]))
        )
        assert (x, y) == pytest.approx((60, ends[label]))


def test_labels_of_equal_ends_are_in_alphabetical_order():
    runs = [FinishedRun("d", label, 0, (10, 20), (0.5, 0.6), ({}, {})) for label in "cab"]
    styles = assign_styles("abc")
    figure = figures.learning_curves(Results(tuple(runs)), "d", styles)
    heights = [part(figure, styles, label, "label").get_position()[1] for label in "abc"]
    assert heights == sorted(heights, reverse=True) and len(set(heights)) == 3


def test_one_seed_has_no_band(make_results, styles_of):
    results = make_results(["random", "b"], n_seeds=1)
    styles = styles_of(results)
    drawn = [*draw_all(results, styles)[:4], figures.deltas(results, "digits", styles)]
    assert not [gid for figure in drawn for gid in marks(figure) if gid.endswith(("--band", "--interval"))]
    assert "One seed" in notes(drawn[0]) and "One seed" in notes(drawn[-1])
    assert "nothing can be compared" in notes(drawn[3])


def test_rounds_that_not_all_seeds_have_are_left_out_and_reported(make_results, styles_of):
    runs = list(make_results(["random", "b"]).runs)
    cut = runs[0]
    runs[0] = replace(cut, n_labeled=cut.n_labeled[:3], accuracy=cut.accuracy[:3], seconds=cut.seconds[:3])
    results = Results(tuple(runs))
    styles = styles_of(results)
    figure = figures.learning_curves(results, "digits", styles)
    assert part(figure, styles, "b", "line").get_xdata().tolist() == [20, 30, 40]
    assert part(figure, styles, "random", "line").get_xdata().tolist() == [20, 30, 40, 50, 60]
    assert "only rounds that all have are drawn: b." in notes(figure)
    assert_apart(figure)


def test_seeds_without_a_round_in_common_are_still_drawn(styles_of):
    runs = [FinishedRun("d", "a", seed, (10 + seed, 20 + seed), (0.5, 0.6 + seed / 10), ({}, {})) for seed in range(2)]
    results = Results(tuple(runs))
    figure = figures.learning_curves(results, "d", styles_of(results))
    line = part(figure, styles_of(results), "a", "line")
    assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == [(10, 0.5), (11, 0.5), (20, 0.6), (21, 0.7)]
    assert "Not all seeds" in notes(figure)


def test_deltas_are_paired_sorted_and_hollow_if_not_significant(make_results):
    results = make_results(["random", "b", "entropy"], n_seeds=6)
    runs = list(results.runs)
    noise = np.random.default_rng(0).normal(0, 0.05, 6)
    runs += [
        replace(run, strategy="like", accuracy=tuple(value + noise[run.seed] for value in run.accuracy))
        for run in runs
        if run.strategy == "random"
    ]
    results = Results(tuple(runs))
    styles = assign_styles(["random", "b", "entropy", "like"])
    figure = figures.deltas(results, "digits", styles)
    areas = results.areas("digits")
    rows = {}
    for label in ("b", "entropy", "like"):
        differences = [areas[label][seed] - areas["random"][seed] for seed in range(6)]
        point, interval = (part(figure, styles, label, name) for name in ("point", "interval"))
        assert point.get_xdata()[0] == pytest.approx(100 * statistics.fmean(differences))
        assert interval.get_xdata() == pytest.approx(100 * np.array(bootstrap_interval(differences)))
        assert (point.get_markerfacecolor() == "white") == (label == "like")
        rows[label] = (point.get_ydata()[0], -statistics.fmean(differences))
        assert (
            f"{100 * statistics.fmean(differences):.2f}".lstrip("-")
            in part(figure, styles, label, "numbers").get_text()
        )
    order = sorted(rows, key=lambda label: rows[label][0])
    assert order == sorted(rows, key=lambda label: rows[label][1])
    assert not [gid for gid in marks(figure) if f"--{styles['random'].key}--" in gid]


def test_deltas_use_the_same_seeds_for_all():
    every = set(range(10))
    assert same_seeds({"random": every, "a": every, "b": set(range(8))}, "random") == (list(range(8)), [])
    assert same_seeds({"random": every, "a": every, "b": {1, 2}}, "random") == (list(range(10)), ["b"])
    assert same_seeds({"random": {0}, "a": {0, 1}, "b": {1}}, "random") == ([0], ["b"])
    # a and b have no seed in common, so only one of them is kept.
    assert same_seeds({"random": every, "a": set(range(5)), "b": set(range(5, 10))}, "random") == (
        [0, 1, 2, 3, 4],
        ["b"],
    )


def test_deltas_say_what_they_leave_out(make_results):
    results = make_results(["random", "a", "b"])
    runs = tuple(run for run in results.runs if run.strategy != "b" or run.seed == 0)
    styles = assign_styles(["random", "a", "b"])
    figure = figures.deltas(Results(runs), "digits", styles)
    assert "lack too many of random's seeds: b." in notes(figure)
    assert {gid.split("--")[1] for gid in marks(figure)} == {styles["a"].key}


def test_deltas_need_a_baseline(make_results, styles_of):
    results = make_results(["a", "b"])
    with pytest.raises(InputError, match="no runs of random"):
        figures.deltas(results, "digits", styles_of(results))
    assert figures.deltas(results, "digits", styles_of(results), baseline="b")
    results = make_results(["random"])
    with pytest.raises(InputError, match="only runs of random"):
        figures.deltas(results, "digits", styles_of(results))
    runs = make_results(["random", "b"]).runs
    apart = Results(tuple(run for run in runs if (run.seed < 2) == (run.strategy == "b")))
    with pytest.raises(InputError, match="half of random's seeds"):
        figures.deltas(apart, "digits", styles_of(apart))


def test_times_are_relative_to_the_reference(make_results, styles_of):
    results = make_results(["random", "entropy", "b"])  # seconds a round: 1 + 0.25, 1 + 0.5, 1 + 0.75
    styles = styles_of(results)
    figure = figures.time_against_accuracy(results, "digits", styles)
    query = figures.time_against_accuracy(results, "digits", styles, phase="query")
    wanted = {"random": (1.25 / 1.5, 0.5), "entropy": (1, 1), "b": (1.75 / 1.5, 1.5)}
    for label, by_seed in results.on("digits").items():
        areas = [run.aubc for run in by_seed.values()]
        for drawn, time in zip((figure, query), wanted[label], strict=True):
            point, interval = (part(drawn, styles, label, name) for name in ("point", "interval"))
            assert point.get_xdata()[0] == pytest.approx(time)
            assert point.get_ydata()[0] == pytest.approx(statistics.fmean(areas))
            assert interval.get_ydata() == pytest.approx(np.array(bootstrap_interval(areas)))
    assert figure.axes[0].get_xscale() == "log"
    assert figure.get_gid() != query.get_gid()


def test_times_without_the_reference_are_seconds(make_results, styles_of):
    results = make_results(["random", "b"])
    styles = styles_of(results)
    figure = figures.time_against_accuracy(results, "digits", styles)
    assert part(figure, styles, "random", "point").get_xdata()[0] == pytest.approx(5 * 1.25)
    assert "seconds a run, as entropy was not run" in notes(figure)


def test_results_without_times_are_refused(make_results, styles_of):
    results = make_results(["random", "b"], query=0.0)
    with pytest.raises(InputError, match="no times"):
        figures.time_against_accuracy(results, "digits", styles_of(results), phase="query")


def test_a_strategy_without_a_time_is_named(make_results, styles_of):
    runs = list(make_results(["entropy", "b"]).runs)
    nothing = ({"train": 1.0, "query": 0.0},) * 5
    runs += [replace(run, strategy="random", seconds=nothing) for run in runs if run.strategy == "b"]
    results = Results(tuple(runs))
    figure = figures.time_against_accuracy(results, "digits", styles_of(results), phase="query")
    assert "Without a time to compare: random." in notes(figure)


def test_heat_map_shows_the_penalty_matrix(make_results, styles_of):
    results = make_results(["random", "entropy", "b"], datasets=("d", "e"))
    matrix = penalty_matrix(results)
    styles = styles_of(results)
    figure = figures.penalty_heat_map(matrix, styles)
    found = marks(figure)
    n_cells = 0
    for i, row in enumerate(matrix.strategies):
        for j, column in enumerate(matrix.strategies):
            gid = f"penalties--{styles[row].key}--beats--{styles[column].key}--"
            assert (gid + "value" in found) == (gid + "cell" in found) == (matrix.values[i][j] > 0)
            if matrix.values[i][j] > 0:
                n_cells += 1
                text = found[gid + "value"]
                assert text.get_text() == f"{matrix.values[i][j]:.2f}"
                assert text.get_position() == (matrix.order.index(column), matrix.order.index(row))
    assert n_cells >= 2
    for j, column in enumerate(matrix.strategies):
        total = sum(row[j] for row in matrix.values)
        assert part(figure, styles, column, "column-sum").get_text() == f"{total:.2f}"
        assert part(figure, styles, column, "column-mean").get_text() == f"{matrix.column_means[j]:.2f}"


def test_pairs_that_were_not_compared_are_gray(make_results, styles_of):
    runs = [run for run in make_results(["random", "entropy", "b"]).runs if run.strategy != "b" or run.seed < 2]
    results = Results(tuple(runs))
    figure = figures.penalty_heat_map(penalty_matrix(results), styles_of(results))
    dashes = [text.get_position() for text in figure.axes[0].texts if text.get_text() == "\N{EN DASH}"]
    assert sorted(dashes) == [(0, 2), (1, 2), (2, 0), (2, 1)]


def test_diagram_shows_the_mean_ranks(make_results, styles_of):
    results = make_results(["random", "entropy", "b"], datasets=[f"d{number}" for number in range(8)])
    ranking = rank(mean_areas(results))
    assert ranking.can_tell
    styles = styles_of(results)
    figure = figures.critical_difference(ranking, styles)
    at = {label: part(figure, styles, label, "stem").get_xdata()[0] for label in ranking.strategies}
    slopes = {
        (at[one] - at[other]) / (ranks[0] - ranks[1])
        for (one, other), ranks in zip(
            itertools.combinations(ranking.strategies, 2), itertools.combinations(ranking.mean_ranks, 2), strict=True
        )
        if ranks[0] != ranks[1]
    }
    assert max(slopes) == pytest.approx(min(slopes)) and min(slopes) > 0
    for label, mean in zip(ranking.strategies, ranking.mean_ranks, strict=True):
        assert part(figure, styles, label, "rank").get_text() == f"{mean:.2f}"
    bars = [line for line in figure.axes[0].lines if line.get_linewidth() == 3]
    assert len(bars) == len(ranking.cliques)
    assert_apart(figure)


def test_bars_join_their_clique(make_results, styles_of):
    rng = np.random.default_rng(1)
    scores = {
        f"d{number}": {"a": 0.9 + rng.random() / 99, "b": 0.9 + rng.random() / 99, "random": 0.5}
        for number in range(12)
    }
    ranking = rank(scores)
    assert ranking.cliques and set(ranking.cliques[0]) == {"a", "b"}
    styles = assign_styles(["a", "b", "random"])
    figure = figures.critical_difference(ranking, styles)
    (bar,) = (line for line in figure.axes[0].lines if line.get_linewidth() == 3)
    ends = [part(figure, styles, label, "stem").get_xdata()[0] for label in ranking.cliques[0]]
    assert bar.get_xdata()[0] == pytest.approx(min(ends) - 2) and bar.get_xdata()[1] == pytest.approx(max(ends) + 2)


def test_few_datasets_support_no_claim(make_results, styles_of):
    results = make_results(["random", "entropy", "b"], datasets=("d", "e"))
    ranking = rank(mean_areas(results))
    figure = figures.critical_difference(ranking, styles_of(results))
    assert f"takes at least {ranking.n_datasets_needed}" in notes(figure) and not ranking.can_tell
    assert not [line for line in figure.axes[0].lines if line.get_linewidth() == 3]


def test_weights_are_means_over_seeds():
    weights = np.random.default_rng(0).dirichlet(np.ones(3), (4, 6))
    weights[3, 4:] = np.nan  # a seed that stopped early
    styles = assign_styles(["a", "b", "c"])
    given = {label: weights[:, :, place] for place, label in enumerate(styles)}
    figure = figures.candidate_weights(given, "autoal", "digits", styles)
    for place, label in enumerate(styles):
        line = part(figure, styles, label, "line")
        assert line.get_xdata().tolist() == list(range(6))
        np.testing.assert_allclose(line.get_ydata(), np.nanmean(weights[:, :, place], axis=0))
    assert "autoal" in notes(figure) and "digits" in notes(figure)


@pytest.mark.parametrize(
    "weights", [{}, {"a": np.ones(3)}, {"a": np.ones((2, 3)), "b": np.ones((2, 2))}, {"a": np.full((2, 2), np.nan)}]
)
def test_weights_of_wrong_shapes_are_refused(weights):
    with pytest.raises(InputError):
        figures.candidate_weights(weights, "s", "d", assign_styles(["a", "b"]))


@pytest.mark.parametrize("shape", [(3, 8, 6), (3, 8, 6, 1), (3, 8, 6, 3)])
def test_first_picks_are_the_images(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    styles = assign_styles(["a", "b"])
    figure = figures.first_picks({"b": images, "a": images[:1]}, "d", styles)
    strip = np.asarray(part(figure, styles, "b", "images").get_array())
    assert strip.shape == (8, 3 * 6 + 2 * 2, 3)
    for number in range(3):
        found = strip[:, 8 * number : 8 * number + 6]
        assert (found == images[number].reshape(8, 6, -1)).all()
    assert (strip[:, 6:8] == 255).all()
    tops = [part(figure, styles, label, "images").get_extent()[3] for label in "ba"]
    assert tops[0] > tops[1]


def test_large_images_shrink_and_invalid_ones_are_refused():
    styles = assign_styles(["a"])
    figure = figures.first_picks({"a": np.zeros((2, 100, 50, 3), np.uint8)}, "d", styles)
    assert part(figure, styles, "a", "images").get_array().shape == (40, 2 * 20 + 2, 3)
    shapes = ((2, 8), (0, 8, 8), (2, 8, 8, 4))
    for wrong in (np.zeros((2, 8, 8)), *(np.zeros(shape, np.uint8) for shape in shapes)):
        with pytest.raises(InputError):
            figures.first_picks({"a": wrong}, "d", styles)
    with pytest.raises(InputError):
        figures.first_picks({}, "d", styles)


def test_unknown_dataset(make_results, styles_of):
    results = make_results(["random", "b"])
    for draw in (figures.learning_curves, figures.deltas, figures.time_against_accuracy):
        with pytest.raises(InputError, match="Did you mean 'digits'"):
            draw(results, "digit", styles_of(results))


@pytest.mark.parametrize(
    "labels", [["random"], ["random", "entropy", "b"], ODD, "many"], ids=["one", "three", "odd", "many"]
)
@pytest.mark.filterwarnings("error")
def test_every_figure_for_any_labels(labels, make_results, styles_of, many, tmp_path):
    results = make_results([*(many if labels == "many" else labels), *(["random"] if labels is ODD else [])])
    styles = styles_of(results)
    seen = set()
    for figure in draw_all(results, styles):
        assert_apart(figure)
        found = marks(figure)
        wanted = set(styles) - ({"random"} if figure.get_gid().startswith("deltas") else set())
        for label in wanted:
            assert [gid for gid in found if f"--{styles[label].key}--" in gid], (figure.get_gid(), label)
        svg = figures.to_svg(figure, "A $title$ & more", "What <it> shows\x00")
        ids = re.findall(r'\bid="([^"]+)"', svg)
        assert len(ids) == len(set(ids)) and not seen & set(ids)
        assert set(found) <= set(ids)
        assert all(re.fullmatch("[a-z][a-z0-9-]*", found_id) for found_id in ids)
        seen |= set(ids)


def test_odd_labels_are_shown_as_they_are(make_results, styles_of):
    results = make_results(ODD)
    styles = styles_of(results)
    figure = figures.learning_curves(results, "digits", styles)
    shown = {label: part(figure, styles, label, "label") for label in ODD}
    assert shown["_hidden"].get_text() == "_hidden" and shown[ODD[0]].get_text() == ODD[0]
    assert not any(text.get_parse_math() for text in shown.values())
    assert "…" in shown["w" * 90].get_text()


def test_no_global_state_is_changed(make_results, styles_of):
    code = (
        "import sys, deepal_autoal, deepal_autoal.report.style, deepal_autoal.report.figures as figures\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import matplotlib, numpy as np\n"
        "from deepal_autoal.report.style import assign_styles\n"
        "matplotlib.rcParams.update({'font.size': 40, 'text.usetex': True})\n"
        # Reading rcParams by key would choose a backend.
        "settings = lambda: {key: dict.__getitem__(matplotlib.rcParams, key) for key in matplotlib.rcParams}\n"
        "before = settings()\n"
        "weights = {'a': np.ones((1, 2)), 'b': np.ones((1, 2))}\n"
        "figure = figures.candidate_weights(weights, 's', 'd', assign_styles('ab'))\n"
        "svg = figures.to_svg(figure, 't', 'd')\n"
        "assert 'matplotlib.pyplot' not in sys.modules and settings() == before\n"
        "sys.stdout.write(svg)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    weights = {"a": np.ones((1, 2)), "b": np.ones((1, 2))}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = figures.candidate_weights(weights, "s", "d", assign_styles("ab"))
    # The same bytes in another process and under other settings.
    assert figures.to_svg(figure, "t", "d") == done.stdout
