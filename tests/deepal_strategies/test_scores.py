"""Each score against a loop that follows its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from deepal_autoal import BlockSize, QueryError
from deepal_strategies.entropy import Entropy
from deepal_strategies.leastconf import LeastConfidence
from deepal_strategies.margin import Margin
from deepal_strategies.random_sampling import RandomSampling
from deepal_strategies.shared import uncertainty


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
    # 90 expected per position, standard deviation about 8.
    assert counts[:10].min() > 55 and counts[:10].max() < 125
    again = [RandomSampling().query(make_round(2, 10, seed=7).context, 10).tolist() for _ in range(2)]
    assert again[0] == again[1]
    assert sorted(again[0]) == make_round(2, 10, seed=7).context.candidates.indices.tolist()


def test_nan_scores_are_refused(make_round):
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    logits[7] = torch.nan
    context = make_round(2, 10, logits=logits).context
    for strategy in (Entropy(), Margin(), LeastConfidence()):
        with pytest.raises(QueryError, match="NaN"):
            strategy.query(context, 3)


@pytest.mark.parametrize("n_classes", [2, 3, 10, 31, 32, 33, 100])
@pytest.mark.parametrize("chunk", [1, 500, 1 << 17])
def test_scores_of_large_pools_follow_their_definitions_too(monkeypatch, n_classes, chunk):
    """Chunks of any size; impossible, equally probable and near-certain classes at all positions."""
    monkeypatch.setattr(uncertainty, "SCORES", BlockSize(chunk))
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(-3, 4, (300, n_classes), generator=generator).double()
    logits[::3] *= 30
    logits[1::7, 0] = -torch.inf
    logits[::11, n_classes // 2 :] = -torch.inf
    logits[::11, 0] = 0.0
    log_p = logits.log_softmax(dim=1)
    rows = log_p.exp().tolist()
    for score, reference in (
        (uncertainty.entropy, naive_entropy),
        (uncertainty.negative_margin, naive_margin),
        (uncertainty.least_confidence, naive_leastconf),
    ):
        expected = [reference(row) for row in rows]
        np.testing.assert_allclose(score(log_p).numpy(), expected, rtol=1e-11, atol=1e-15)
        assert score(log_p.float()).dtype == torch.float32


@pytest.mark.parametrize("n_classes", [2, 3, 100])
def test_ties_and_near_ties_have_exact_margins(n_classes):
    probabilities = torch.zeros(4, n_classes)
    probabilities[0, :2] = 0.5
    probabilities[1, -2:] = torch.tensor([0.5, torch.nextafter(torch.tensor(0.5), torch.tensor(1.0))])
    probabilities[2, 1] = 1.0
    probabilities[3] = 1 / n_classes
    expected = [0.0, -(2.0**-24), -1.0, 0.0]
    assert uncertainty.negative_margin_of_probabilities(probabilities).tolist() == expected
    # The logarithms are rounded, but ties stay exact.
    margins = uncertainty.negative_margin(probabilities.log()).tolist()
    assert margins == pytest.approx(expected, abs=6e-8) and margins[::3] == [0.0, 0.0]
    certain = torch.tensor([[0.0, -40.0], [0.0, -50.0], [0.0, -80.0]], dtype=torch.float64)
    assert uncertainty.entropy(certain).diff().lt(0).all(), "confident predictions must differ"


@pytest.mark.parametrize("n_classes", [2, 10, 31, 100])
def test_equal_rows_have_equal_scores_wherever_they_are(n_classes):
    """Otherwise rounding would choose by position."""
    log_p = torch.randn(1, n_classes, generator=torch.Generator().manual_seed(1)).log_softmax(dim=1)
    table = log_p.repeat(300_000 // n_classes + 13, 1)
    for score in (uncertainty.entropy, uncertainty.negative_margin, uncertainty.least_confidence):
        assert len(score(table).unique()) == 1
    for score in (uncertainty.entropy_of_probabilities, uncertainty.negative_margin_of_probabilities):
        assert len(score(table.exp()).unique()) == 1


def test_temporaries_of_a_large_pool_are_chunks(watch, monkeypatch):
    monkeypatch.setattr(uncertainty, "SCORES", BlockSize(1000))
    log_p = torch.randn(20_000, 5, generator=torch.Generator().manual_seed(1)).log_softmax(dim=1)
    for score in (uncertainty.entropy, uncertainty.negative_margin, uncertainty.least_confidence):
        with watch:
            score(log_p)
        assert watch.largest == 20_000
