"""Each score against a loop that follows its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from deepal_autoal import QueryError
from deepal_strategies.entropy import Entropy
from deepal_strategies.leastconf import LeastConfidence
from deepal_strategies.margin import Margin
from deepal_strategies.random_sampling import RandomSampling


def naive_entropy(row):
    return -sum(p * math.log(p) for p in row if p > 0)


def naive_margin(row):
    first, second = sorted(row, reverse=True)[:2]
    return second - first


def naive_leastconf(row):
    return -max(row)


SCORES = [(Entropy, naive_entropy), (Margin, naive_margin), (LeastConfidence, naive_leastconf)]


@pytest.mark.parametrize(("strategy", "reference"), SCORES)
@pytest.mark.parametrize("n_classes", [2, 3, 100])
def test_score_follows_its_definition(make_round, strategy, reference, n_classes):
    logits = 3 * torch.randn(50, n_classes, generator=torch.Generator().manual_seed(0))
    context = make_round(10, 40, n_classes, logits=logits).context
    rows = logits.double().softmax(dim=1)[torch.tensor(context.candidates.indices)].tolist()
    expected = [reference(row) for row in rows]
    scores = strategy().score(context)
    np.testing.assert_allclose(scores.numpy(), expected, atol=2e-6)
    chosen = strategy().query(context, 5)
    best = context.candidates.indices[np.argsort(expected)[::-1][:5]]
    assert set(chosen.tolist()) == set(best.tolist())


@pytest.mark.parametrize(("strategy", "reference"), SCORES)
def test_impossible_classes_give_finite_scores(make_round, strategy, reference):
    logits = torch.full((20, 3), float("-inf"))
    logits[:, 0] = 0.0
    logits[::2, 1] = 0.0
    context = make_round(4, 16, 3, logits=logits).context
    rows = logits.softmax(dim=1)[torch.tensor(context.candidates.indices)].tolist()
    np.testing.assert_allclose(strategy().score(context).numpy(), [reference(row) for row in rows], atol=1e-6)


@pytest.mark.parametrize("strategy", [Entropy, Margin, LeastConfidence])
def test_equal_scores_are_not_chosen_by_position(make_round, strategy):
    picks = [strategy().query(make_round(5, 50, logits=torch.zeros(55, 3), seed=seed).context, 5) for seed in range(4)]
    first = [make_round(5, 50, seed=seed).context.candidates.indices[:5] for seed in range(4)]
    assert any(set(a.tolist()) != set(b.tolist()) for a, b in zip(picks, first, strict=True))


def test_random_is_uniform_without_replacement_and_seeded(make_round):
    counts = np.zeros(12, dtype=int)
    for seed in range(300):
        context = make_round(2, 10, seed=seed, n_features=2).context
        positions = np.searchsorted(context.candidates.indices, RandomSampling().query(context, 3))
        assert len(set(positions.tolist())) == 3
        counts[positions] += 1
    assert counts[10:].sum() == 0
    # 90 expected a position, standard deviation about 8.
    assert counts[:10].min() > 55 and counts[:10].max() < 125
    again = [RandomSampling().query(make_round(2, 10, seed=7).context, 10).tolist() for _ in range(2)]
    assert again[0] == again[1]
    assert sorted(again[0]) == make_round(2, 10, seed=7).context.candidates.indices.tolist()


def test_nan_is_never_taken_for_a_score(make_round):
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    logits[7] = torch.nan
    context = make_round(2, 10, logits=logits).context
    for strategy in (Entropy(), Margin(), LeastConfidence()):
        with pytest.raises(QueryError, match="NaN"):
            strategy.query(context, 3)
