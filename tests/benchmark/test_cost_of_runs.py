"""Estimates of what runs will cost: from a short probe, corrected by finished runs; nothing is written."""

import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from deepal_autoal import Dataset, ScoringStrategy, Strategy
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.benchmark.cost.estimates import Cost, Estimates
from deepal_autoal.benchmark.grid import plan_grid
from deepal_autoal.experiment.results import FinishedRun

pytestmark = pytest.mark.slow


class Slow(ScoringStrategy):
    """Takes 0.2 ms per candidate."""

    requires = frozenset({"probabilities"})

    def score(self, context):
        time.sleep(2e-4 * len(context.candidates.indices))
        return context.candidates.probabilities()[:, 0]


class Endless(Strategy):
    """Takes 100 steps of 0.5 s, and reports them."""

    def query(self, context, batch_size):
        for step in range(100):
            time.sleep(0.5)
            context.progress(step + 1, 100)
        return context.candidates.indices[:batch_size]


class Failing(Strategy):
    def query(self, context, batch_size):
        raise ZeroDivisionError("nothing to divide by")


@pytest.fixture
def large(register):
    """A dataset of 3,000 points, and slow strategies."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3300, 5)).astype(np.float32), rng.integers(0, 3, 3300)
    data = Dataset("large", x[:3000], y[:3000], x[3000:], y[3000:], ("a", "b", "c"))
    register(datasets={"large": lambda folder: data}, strategies={"slow": Slow, "endless": Endless, "failing": Failing})


@pytest.fixture
def brief(monkeypatch):
    """Half a second for a probe, where its precision does not matter."""
    monkeypatch.setattr("deepal_autoal.benchmark.cost.estimates._DRY_RUN_SECONDS", 0.5)


SETTINGS = {"initial": 50, "batch_size": 50, "rounds": 4, "epochs": 2, "recipe": {"min_steps": 40}, "threads": 1}


def estimates_of(strategies, seeds=2, finished=(), **more):
    grid = plan_grid(strategies, "large", seeds, Path("nowhere"), None, {**SETTINGS, **more})
    return grid, Estimates(grid, finished)


def test_training_and_queries_are_scaled_to_the_run(large, tmp_path):
    grid, estimates = estimates_of("random,slow", seeds=1)
    estimates.probe(lambda done, total: None, is_asked_for=True)
    result = run_benchmark("random,slow", "large", 1, tmp_path, **SETTINGS)
    costs = {run.strategy: estimates.of(run) for run in grid.runs}
    # Sleep takes at least as long as requested, however busy the machine is.
    assert costs["slow"].query >= 0.95 * 2e-4 * sum(2950 - 50 * n for n in range(4))
    assert costs["random"].query < costs["slow"].query / 2
    assert all(costs[run.strategy].train > 0 for run in result.tables.runs)
    assert costs["slow"].n_bytes is None or costs["slow"].n_bytes > 50_000_000
    assert 0 < costs["slow"].shared < costs["slow"].train + costs["slow"].evaluate


def test_a_long_query_is_ended_and_extrapolated(large, monkeypatch):
    monkeypatch.setattr("deepal_autoal.benchmark.cost.estimates._DRY_RUN_SECONDS", 1.4)
    grid, estimates = estimates_of("endless", seeds=1, rounds=1)
    started = time.monotonic()
    estimates.probe(lambda done, total: None, is_asked_for=True)
    assert time.monotonic() - started < 15
    # As long as the 100 steps take on a pool of the probe's size; more on this one.
    assert estimates.of(grid.runs[0]).query > 45


def test_a_probe_before_a_benchmark_takes_a_small_part_of_the_remaining_time(large, monkeypatch):
    monkeypatch.setattr("deepal_autoal.benchmark.cost.estimates._LEAST_SECONDS", 0.0)
    grid, estimates = estimates_of("random,slow,margin,entropy", seeds=1)
    seen = []
    estimates.probe(lambda done, total: seen.append((done, total)))
    assert 1 <= estimates.n_known < estimates.n_kinds == 4 and seen[0] == (0, 4)
    known = [estimates.of(run) for run in grid.runs if estimates.is_known(run)]
    unknown = [estimates.of(run) for run in grid.runs if not estimates.is_known(run)]
    assert unknown[0].seconds == min(cost.seconds for cost in known)


def test_strategies_with_expensive_cards_are_probed_first(large, monkeypatch):
    _, estimates = estimates_of("random,margin,badge,ensvarr,kmeans", seeds=1)
    order = []

    def probe(make):
        order.append(make().name)
        return Cost(1.0, 1.0, 1.0)

    monkeypatch.setattr(
        "deepal_autoal.benchmark.cost.probing.Probe",
        lambda *arguments: SimpleNamespace(of=probe),
    )
    estimates.probe(lambda done, total: None, is_asked_for=True)
    assert order[0] == "ensvarr" and order[1] == "badge" and order[-1] == "random" and len(order) == 5


def test_a_strategy_that_cannot_be_probed_does_not_stop_the_others(large, brief):
    grid, estimates = estimates_of("failing,random")
    estimates.probe(lambda done, total: None, is_asked_for=True)
    assert "nothing to divide by" in estimates.failures["large", "failing"]
    assert estimates.is_known(grid.runs[1]) and not estimates.is_known(grid.runs[0])


def test_a_finished_runs_plain_models_are_counted(large):
    run = FinishedRun("large", "ceal", 0, (50, 100), (0.5, 0.6), ({"train": 3.0, "evaluate": 1.0, "query": 2.0},) * 2,
                      changes_training=True)  # fmt: skip
    for plain, seconds in ((None, 12.0), ((0.5, 0.6), 20.0)):
        grid, estimates = estimates_of("ceal", seeds=1, finished=[replace(run, plain_accuracy=plain)])
        assert estimates.of(grid.runs[0]).seconds == seconds


def finished(strategy, train, query, seed=0):
    return FinishedRun(
        "large", strategy, seed, (50, 100), (0.5, 0.6),
        ({"train": train / 2, "evaluate": 0.0, "query": query}, {"train": train / 2, "evaluate": 0.0, "query": 0.0}),
        changes_training=False,
    )  # fmt: skip


def test_measured_costs_take_precedence_and_correct_probes(large):
    grid, estimates = estimates_of(
        "random,margin", finished=[finished("random", 8.0, 2.0), finished("random", 12.0, 2.0, 1)]
    )
    run = {run.strategy: run for run in grid.runs}
    assert estimates.of(run["random"]) == Cost(10.0, 0.0, 2.0, shared=5.0)
    assert estimates.of(run["margin"]).seconds == 12.0  # the cheapest known one
    estimates._probed = {("large", "random"): Cost(3.0, 1.0, 2.0), ("large", "margin"): Cost(6.0, 1.0, 3.0)}
    assert estimates.of(run["margin"]).seconds == pytest.approx(10.0 * 12.0 / 6.0)


def test_round_0_counts_once_for_a_seed(large):
    grid, estimates = estimates_of("random,margin,lpl", seeds=2)
    estimates._probed = {("large", name): Cost(10.0, 2.0, 1.0, shared=3.0) for name in ("random", "margin")}
    estimates._probed["large", "lpl"] = Cost(20.0, 2.0, 1.0)
    assert estimates.seconds(grid.runs, 1) == 2 * (13 + 13 - 3 + 23)
    assert estimates.seconds(grid.runs, 2) == 13 + 13 - 3 + 23
    # A run in progress has its unfinished share left, and has trained round 0 for the others.
    half = {grid.runs[0]: 0.5}
    assert estimates.seconds(grid.runs, 1, half) == pytest.approx(2 * (13 + 13 - 3 + 23) - 6.5)
    # Never shorter than the longest run, for any number of jobs.
    assert estimates.seconds(grid.runs[:1], 4) == 13 and estimates.seconds(grid.runs, 100) == 23


def test_one_strategy_of_each_dataset_is_probed_at_any_cost(large, register, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 5)).astype(np.float32), rng.integers(0, 3, 400)
    register(datasets={"small": lambda folder: Dataset("small", x, y, x[:50], y[:50], ("a", "b", "c"))})
    monkeypatch.setattr("deepal_autoal.benchmark.cost.estimates._LEAST_SECONDS", 0.0)
    monkeypatch.setattr("deepal_autoal.benchmark.cost.estimates._SHARE", 0.0)
    grid = plan_grid("random,margin", "large,small", 1, Path("nowhere"), None, SETTINGS)
    estimates = Estimates(grid, ())
    estimates.probe(lambda done, total: None)
    known = [run.dataset for run in grid.runs if estimates.is_known(run)]
    assert sorted(known) == ["large", "small"] and estimates.n_known == 2
    assert estimates.seconds(grid.runs, 1) > 0


def test_a_dry_run_shows_the_cost_and_writes_nothing(deepal, tmp_path, blob_file, brief, monkeypatch):
    monkeypatch.setattr("deepal_autoal.report.write_report", lambda out: out)
    quick = ["--model", "linear", "--epochs", "2", "--min-steps", "4", "--initial", "10", "--rounds", "2"]
    arguments = ["benchmark", "--strategies", "random,margin", "--datasets", str(blob_file), "--seeds", "3", *quick]
    status, out, err = deepal(*arguments, "--dry-run", "--jobs", "2", "--out", "b")
    assert status == 0 and not (tmp_path / "b").exists()
    assert re.search(r"^blobs +random +3 +3 +\d+\.\d +\d+\.\d +\d+\.\d", out, re.MULTILINE) and "margin" in out
    assert re.search(r"^estimate: about [\d.]+ s for 6 runs, 2 at a time", err, re.MULTILINE)
    assert deepal(*arguments, "--seeds", "1", "--out", "b")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*")}
    status, out, err = deepal(*arguments, "--dry-run", "--out", "b")
    assert re.search(r"^blobs +random +3 +2 ", out, re.MULTILINE) and "2 finished already" in err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*")} == before
