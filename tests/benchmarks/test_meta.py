"""The tasks, simulator and policies of the search across tasks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks" / "autoal" / "meta"
OWN = ("digits", "wine", "mixture", "manifold")


@pytest.fixture
def meta(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    import policies
    import simulator
    import tasks

    yield tasks, simulator, policies
    for name in set(sys.modules) - before:
        if name in ("policies", "simulator", "tasks"):
            del sys.modules[name]


@pytest.mark.parametrize("number", range(8))
def test_a_number_determines_a_task(meta, number, tmp_path):
    tasks = meta[0]
    one, other = (tasks.draw_task(number, OWN, tmp_path) for _ in range(2))
    assert one.family == OWN[number % 4] and np.array_equal(one.x, other.x) and np.array_equal(one.y, other.y)
    assert one.initial + one.rounds * one.batch_size <= len(one.x)
    assert np.isfinite(one.x).all() and one.y.max() < one.n_classes and len(one.x_test) == len(one.y_test) > 0


def test_the_simulator_repeats_and_sees_no_hidden_label(meta):
    tasks, simulator, policies = meta
    task = tasks.draw_task(1, ("wine",), FOLDER)
    assert simulator.simulate(task, policies.margin) == simulator.simulate(task, policies.margin)
    seen = []

    def watching(state, n):
        seen.append(len(state.labels))
        assert len(state.labels) == len(state.labeled) == len(torch.unique(state.labeled))
        return policies.random(state, n)

    area = simulator.simulate(task, watching)
    assert seen == [task.initial + number * task.batch_size for number in range(task.rounds)]
    assert 30 < area <= 100


def test_coverage_weighs_by_uncertainty_and_rarity(meta):
    _, simulator, policies = meta
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(60, 5, generator=generator)
    logits = torch.zeros(50, 3)
    logits[:25, 0] = 8.0  # certain, of the class with many labels
    labels = torch.tensor([0] * 8 + [1, 2])
    state = simulator.State(
        0, rows, torch.nn.functional.normalize(rows, dim=1), torch.arange(50), torch.arange(50, 60), labels, 3, logits,
        1.0, 0.5, generator,
    )  # fmt: skip
    small = {"log_radius": -3.0}
    assert (policies.Coverage(alpha=2.0, **small)(state, 5) >= 25).all()
    assert (policies.Coverage(alpha=0.0, gamma=3.0, **small)(state, 5) >= 25).all()
