"""Probes of strategies with known cost, on a clock that only they advance."""

import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from deepal_autoal import Dataset, ScoringStrategy, Strategy, create_strategy
from deepal_autoal.benchmark.cost.brief_training import BriefTrainer, TrainingCost
from deepal_autoal.benchmark.cost.extrapolation import Growth, Sample, bytes_at, seconds_at
from deepal_autoal.benchmark.cost.probe import Probe
from deepal_autoal.benchmark.cost.probe_sizes import climb
from deepal_autoal.benchmark.grid import plan_grid
from deepal_autoal.experiment.learner import ActiveLearner
from deepal_autoal.models.linear import Linear
from deepal_autoal.training.recipe import Recipe
from deepal_autoal.training.task_model import TaskModel

pytestmark = pytest.mark.slow

N, INITIAL, BATCH, ROUNDS = 6000, 50, 50, 3
SETTINGS = {"initial": INITIAL, "batch_size": BATCH, "rounds": ROUNDS, "epochs": 2, "model": "linear", "threads": 1,
            "recipe": {"min_steps": 40}}  # fmt: skip
MEAN_N = N - INITIAL - (ROUNDS - 1) * BATCH // 2


@pytest.fixture
def clock(monkeypatch):
    """A clock that only ``time.sleep`` advances."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(N + 300, 5)).astype(np.float32), rng.integers(0, 3, N + 300)
    return Dataset("known", x[:N], y[:N], x[N:], y[N:], ("a", "b", "c"))


@pytest.fixture
def cost_of(register, data):
    """Return a function that probes a strategy."""

    def cost_of(target, seconds=3.0):
        register(strategies={"known-cost": target}, datasets={"known": lambda folder: data})
        run = plan_grid("known-cost", "known", 1, Path("nowhere"), None, SETTINGS).runs[0]
        return Probe(data, run.setup, run.settings, seconds).of(lambda: create_strategy("known-cost"))

    return cost_of


class Fixed(ScoringStrategy):
    """Takes half a second, plus a millisecond per candidate."""

    requires = frozenset({"probabilities"})

    def score(self, context):
        time.sleep(0.5 + 1e-3 * len(context.candidates))
        return context.candidates.probabilities()[:, 0]


def test_constant_cost_is_not_scaled(clock, cost_of):
    cost = cost_of(Fixed)
    assert clock[0] - 100 < 0.75 * (0.5 + 1e-3 * MEAN_N) * 2  # it was never queried on the whole pool
    assert cost.query == pytest.approx(ROUNDS * (0.5 + 1e-3 * MEAN_N))
    assert cost.first_query == pytest.approx(0.5 + 1e-3 * (N - INITIAL))
    assert cost.train == 0.0 and cost.dominates == "query: selection"


class SlowToTrain(Fixed):
    """Takes a second more for a training."""

    def wrap_trainer(self, trainer):
        class Slow:
            def fit(self, *data, **settings):
                time.sleep(1.0)
                return trainer.fit(*data, **settings)

        return Slow()


def test_a_plain_model_beside_changed_training_is_counted(clock, register, data):
    register(strategies={"slow": SlowToTrain, "fixed": Fixed}, datasets={"known": lambda folder: data})
    run = plan_grid("slow,fixed", "known", 1, Path("nowhere"), None, SETTINGS).runs[0]
    alone, both = (Probe(data, run.setup, {**run.settings, "plain_accuracy": asked}, 3.0) for asked in (None, True))
    one, two = (probe.of(lambda: create_strategy("slow")) for probe in (alone, both))
    assert one.train > 0 and two.train == pytest.approx(2 * one.train) and two.query == pytest.approx(one.query)
    assert both.of(lambda: create_strategy("fixed")).train == alone.of(lambda: create_strategy("fixed")).train


def test_the_models_of_an_audit_are_counted(clock, register, data):
    register(strategies={"slow": SlowToTrain}, datasets={"known": lambda folder: data})
    run = plan_grid("slow", "known", 1, Path("nowhere"), None, SETTINGS).runs[0]
    without, audited, before_training = (
        Probe(data, run.setup, {**run.settings, **more}, 3.0).of(lambda: create_strategy("slow"))
        for more in ({}, {"audit": 0.1, "audit_folds": 4}, {"audit": 0.1, "audit_folds": 0})
    )
    assert before_training.train == pytest.approx(without.train)
    assert audited.train == pytest.approx((1 + 4 + 11) * without.train) and audited.evaluate == without.evaluate


def test_with_enough_time_the_whole_pool_is_measured(clock, cost_of):
    sizes = []

    class Step(Fixed):
        """Takes longer once the pool is large."""

        def score(self, context):
            sizes.append(len(context.candidates))
            time.sleep(0.2 if len(context.candidates) < 5000 else 1.7)
            return context.candidates.probabilities()[:, 0]

    assert cost_of(Step, seconds=10.0).query == pytest.approx(ROUNDS * 1.7)
    assert sizes[-1] == MEAN_N


class Slow(nn.Module):
    """A microsecond a pixel, in training three, and a tenth of a second for a training step besides."""

    seen: ClassVar[list[int]] = []

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images):
        n_pixels = len(images) * images.shape[2] * images.shape[3]
        self.seen.append(n_pixels)
        time.sleep(0.1 + 3e-6 * n_pixels if self.training else 1e-6 * n_pixels)
        return images.mean(dim=(1, 2, 3)).unsqueeze(1) * self.weight


def test_large_images_are_probed_by_their_parts(clock, register):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (100, 300, 400, 1), dtype=np.uint8), np.arange(100) % 2
    data = Dataset("large", x[:80], y[:80], x[80:], y[80:], ("a", "b"))
    register(models={"slow": lambda shape, n_classes: TaskModel(Slow(), 1, n_classes)},
             datasets={"large": lambda folder: data})  # fmt: skip
    settings = {"initial": 24, "batch_size": 8, "rounds": 2, "epochs": 3, "model": "slow", "threads": 1}
    run = plan_grid("entropy", "large", 1, Path("nowhere"), None, settings).runs[0]
    Slow.seen.clear()
    cost = Probe(data, run.setup, run.settings, 3.0).of(lambda: create_strategy("entropy"))
    assert sum(Slow.seen) < 6e6  # a hundred images have 12e6, and a training on 24 labels passes over 8.6e6
    labels, n_steps = 24 + 32 + 40, 3 * (3 + 4 + 5)  # of 8
    assert cost.train == pytest.approx(n_steps * 0.1 + 3 * labels * 120_000 * 3e-6, rel=0.05)
    assert cost.evaluate == pytest.approx(3 * 20 * 120_000 * 1e-6, rel=0.05)
    assert cost.query == pytest.approx(2 * 52 * 120_000 * 1e-6, rel=0.05)


def test_models_for_images_of_one_size_are_probed_on_whole_images(register):
    class OneSize(Slow):
        def forward(self, images):
            assert images.shape[2:] == (240, 240)
            return images.mean(dim=(1, 2, 3)).unsqueeze(1) * self.weight

    x, y = np.zeros((40, 240, 240, 1), np.uint8), np.arange(40) % 2
    data = Dataset("large", x[:30], y[:30], x[30:], y[30:], ("a", "b"))
    register(models={"one-size": lambda shape, n_classes: TaskModel(OneSize(), 1, n_classes)},
             datasets={"large": lambda folder: data})  # fmt: skip
    settings = {"initial": 4, "batch_size": 2, "rounds": 1, "epochs": 1, "model": "one-size", "threads": 1}
    run = plan_grid("random", "large", 1, Path("nowhere"), None, settings).runs[0]
    assert Probe(data, run.setup, run.settings, 0.1).of(lambda: create_strategy("random")).train > 0


class Endless(Strategy):
    """Prepares for two seconds, trains a model, and takes 100 reported steps of half a second."""

    def query(self, context, batch_size):
        time.sleep(2.0)
        context.fit(context.labeled.indices, "further")
        for step in range(100):
            time.sleep(0.5)
            context.progress(step + 1, 100)
        return context.candidates.indices[:batch_size]


def test_an_ended_query_counts_its_own_steps_and_not_those_of_its_trainings(clock, cost_of):
    cost = cost_of(Endless, seconds=6.0)
    assert clock[0] - 100 < 30
    assert cost.query == pytest.approx(ROUNDS * (2.0 + 50.0), rel=0.2)


class Hungry(Strategy):
    """Allocates ten megabytes, plus ten kilobytes per candidate."""

    def query(self, context, batch_size):
        held = np.ones(10_000_000 + 10_000 * len(context.candidates), dtype=np.uint8)
        return context.candidates.indices[:batch_size] + 0 * int(held[0])


def test_memory_has_a_constant_and_a_growing_part(cost_of):
    cost = cost_of(Hungry)
    if cost.n_bytes is None:
        pytest.skip("this system does not report a process's memory")
    assert cost.query_bytes == pytest.approx(10e6 + 10e3 * (N - INITIAL), rel=0.15)
    assert cost.n_bytes > cost.query_bytes + 50e6


def test_a_training_is_cut_short_and_counted_in_full(clock, data):
    done = []

    class Ticking:
        """Takes a second to start, and a tenth of a second per step."""

        def fit(self, labeled, unlabeled, *, seed, initial_state=None, recipe=None, progress=None):
            n = len(labeled.indices)
            assert progress is None
            done.append(recipe.n_batches(n) * recipe.n_epochs(n))
            time.sleep(1.0 + 0.1 * done[-1])
            return plain.fit(labeled, unlabeled, seed=seed, recipe=recipe)

    learner = ActiveLearner(data.x_train, Strategy(), 3, model="linear", recipe={"epochs": 30, "min_steps": 0})
    learner.tell(np.arange(640), data.y_train[:640])
    trainers = []

    def wrap(trainer):
        nonlocal plain
        plain = trainer
        trainers.append(BriefTrainer(Ticking(), learner.recipe, 25))
        return trainers[0]

    plain = None
    learner.wrap_trainer(wrap)
    fitted = learner.fit()
    training = trainers[0].trainings[0]
    assert training.wanted == 300 and training.done == done[0] <= 25
    assert training.whole(TrainingCost(1.0, 0.1)) == pytest.approx(1.0 + 300 * 0.1)
    assert fitted.recipe == learner.recipe and isinstance(fitted.recipe, Recipe)


def test_a_solved_training_is_measured_whole_and_has_no_steps(clock, register, data, monkeypatch):
    counts = []
    solve = Linear.solve

    def slow(self, inputs, labels, **settings):
        counts.append(len(labels))
        time.sleep(2.0)
        return solve(self, inputs, labels, **settings)

    monkeypatch.setattr(Linear, "solve", slow)
    register(datasets={"known": lambda folder: data})
    run = plan_grid("random", "known", 1, Path("nowhere"), None, SETTINGS).runs[0]
    found = Probe(data, run.setup, run.settings, 3.0).of(lambda: create_strategy("random"))
    assert found.train == pytest.approx(2.0 * (ROUNDS + 1))
    assert set(counts) == {INITIAL + (ROUNDS - 1) * BATCH // 2}


def test_extrapolation_by_lines_and_cards():
    growth = Growth("b*N*(C + D)", {"C": 10, "D": 100})
    one = Sample(1000, 50, 2.0, n_bytes=100)
    assert growth.ratio((1000, 50), (4000, 100)) == 8
    assert seconds_at([one], 4000, 100, growth) == 16.0
    # A selector's cost grows as its candidates' costs do.
    assert Growth("ask + N", {}, [growth, growth]).ratio((1000, 50), (1000, 100)) == pytest.approx(2.0, rel=1e-3)
    # Two samples of one batch size: a line, then the card for the batch.
    two = [one, Sample(3000, 50, 4.0, n_bytes=140)]
    assert seconds_at(two, 5000, 50, growth) == 6.0 and seconds_at(two, 5000, 100, growth) == 12.0
    assert bytes_at(two, 5000, 50, growth) == 180
    # Noise does not make a larger query faster.
    assert seconds_at([one, Sample(3000, 50, 1.9)], 5000, 50, growth) == 1.9


def test_parts_of_the_pool_grow_as_far_as_time_allows(clock):
    asked = []

    def measure(n, batch_size):
        asked.append((n, batch_size))
        seconds = 1e-4 * n
        time.sleep(seconds)
        return Sample(n, batch_size, seconds)

    samples = climb(measure, 500, 1_000_000, 1000, Growth("N", {}), 20.0)
    assert samples[0].n == 500 and samples[0].batch_size == 125
    assert samples[-1].n >= 100_000 and samples[-1].batch_size == 1000
    assert clock[0] - 100 <= 20.0
    # A pool that can be measured as a whole is.
    assert climb(measure, 500, 20_000, 1000, Growth("N", {}), 20.0)[-1].n == 20_000
