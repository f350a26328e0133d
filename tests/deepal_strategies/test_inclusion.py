"""Inclusion probabilities against sums over all orders of draws, and against what they sum to."""

import itertools
import math

import numpy as np
import pytest
import torch

from deepal_strategies.shared.inclusion import inclusion_probabilities


def found(log_weights, n_draws):
    return inclusion_probabilities(torch.as_tensor(log_weights), n_draws).numpy()


def over_all_orders(weights, n_draws):
    total = np.zeros(len(weights))
    for order in itertools.permutations(range(len(weights)), n_draws):
        left, chance = list(range(len(weights))), 1.0
        for i in order:
            chance *= weights[i] / weights[left].sum()
            left.remove(i)
        total[list(order)] += chance
    return total


@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0, 20.0])
@pytest.mark.parametrize(("n", "n_draws"), [(2, 1), (5, 2), (6, 5), (7, 3), (8, 1), (4, 4)])
def test_small_cases_equal_the_sum_over_all_orders(n, n_draws, spread):
    logs = spread * np.random.default_rng(n + n_draws).normal(size=n)
    expected = over_all_orders(np.exp(logs), n_draws)
    np.testing.assert_allclose(found(logs, n_draws), expected, atol=1e-11, rtol=1e-8)
    np.testing.assert_allclose(found(logs - 500.0, n_draws), expected, atol=1e-11, rtol=1e-8)


def test_many_copies_of_one_small_weight_equal_a_closed_form():
    # One draw of two weights: it has the large weight unless the first draw takes another.
    logs = np.full(4001, -3.0)
    logs[7] = 2.0
    share = math.exp(2.0) / (math.exp(2.0) + 4000 * math.exp(-3.0))
    rest = math.exp(2.0) / (math.exp(2.0) + 3999 * math.exp(-3.0))
    chances = found(logs, 2)
    assert chances[7] == pytest.approx(share + (1 - share) * rest, rel=1e-11)
    np.testing.assert_allclose(np.delete(chances, 7), (2 - chances[7]) / 4000, rtol=1e-11)


@pytest.mark.parametrize(
    ("n", "n_draws", "spread"), [(3000, 1, 5.0), (3000, 100, 2.0), (500, 490, 1.0), (200, 60, 30.0)]
)
def test_large_cases_sum_to_the_draws_and_grow_with_the_weights(n, n_draws, spread):
    logs = spread * np.random.default_rng(0).normal(size=n)
    chances = found(logs, n_draws)
    assert chances.sum() == pytest.approx(n_draws, abs=1e-9)
    assert (chances > 0).all() == (spread < 30)
    ordered = chances[np.argsort(logs)]
    assert (np.diff(ordered) >= -1e-12).all()


def test_large_cases_are_what_draws_give():
    logs = np.concatenate([np.linspace(-4, 4, 40), np.full(400, -1.0)])
    noise = np.random.default_rng(0).gumbel(size=(4000, 440))
    drawn = np.argpartition(-(logs + noise), 29, axis=1)[:, :30]
    counts = np.bincount(drawn.ravel(), minlength=440) / 4000
    chances = found(logs, 30)
    deviations = np.sqrt(chances * (1 - chances) / 4000)
    assert (np.abs(counts - chances)[:40] < 4 * deviations[:40] + 1e-4).all()
    assert counts[40:].mean() == pytest.approx(chances[40:].mean(), rel=0.02)


def test_tiny_probabilities_keep_their_digits():
    logs = np.concatenate([[0.0, 0.0], np.linspace(-30, -20, 50)])
    weights = np.exp(logs)
    np.testing.assert_allclose(found(logs, 1), weights / weights.sum(), rtol=1e-4)


def test_weights_of_0_come_last():
    none = [-np.inf] * 4
    np.testing.assert_allclose(found([*none, 0.0, 5.0], 3), [0.25] * 4 + [1.0, 1.0])
    np.testing.assert_allclose(found([*none, 0.0, 0.0, 0.0], 2), [0.0] * 4 + [2 / 3] * 3, rtol=1e-12)
    np.testing.assert_allclose(found([*none, 0.0, 5.0], 2), [0.0] * 4 + [1.0, 1.0])
    np.testing.assert_allclose(found(none, 3), [0.75] * 4)
    assert found([3.0, 900.0, -900.0, 2000.0], 2).tolist() == [0, 1, 0, 1]
