"""S̄ of the pool and the weights: their definition, and that omitted samples cannot matter."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deepal_autoal import DeepALError
from deepal_strategies.autoal.networks import SearchNet, Standardize
from deepal_strategies.autoal.score_pool import Judge, score_pool

N, M, K, D = 500, 40, 4, 6


class Counted:
    """Rows of a table; records which were requested."""

    def __init__(self, rows):
        self.rows = rows
        self.asked = []

    def __call__(self, rows):
        self.asked += rows.tolist()
        return self.rows[rows]


def make_judge(seed=0, weights="softmax", strength=3.0, chunk=32):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(N + M, D, generator=generator)
    torch.manual_seed(seed)
    net = SearchNet(nn.Identity(), Standardize(features), D, K, weights)
    for head in (net.strategy_head, net.mixing_head):
        nn.init.normal_(head.weight, std=strength)
    return Judge(net, Counted(features[:N]), Counted(features[N:]), chunk)


def some_scores(seed=1):
    return torch.rand(N, K, generator=torch.Generator().manual_seed(seed))


def learned_trust(judge):
    """Return W·sigmoid(Θ) divided by its mean sum on the labeled samples, by definition."""

    def trust(rows):
        log_weights, theta, _ = judge.net(rows)
        return log_weights.exp() / (1 + torch.exp(-theta))

    return (trust(judge.pool.rows) / trust(judge.labeled.rows).sum(dim=1).mean()).detach()


UNIFORM = torch.full((K,), 1.0 / K, dtype=torch.float64)


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
@pytest.mark.parametrize("n_judges", [1, 2])
def test_scores_and_weights_follow_their_definition(share, weights, n_judges):
    judges, scores = [make_judge(seed, weights) for seed in range(n_judges)], some_scores()
    prior = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    result, shares = score_pool(judges, scores, 0.7, prior, share, M)
    trust = (1 - share) * sum(map(learned_trust, judges)) / n_judges + share * prior.float()
    expected = torch.tensor([sum((trust[j, k] * (scores[j, k] - 0.7)).item() for k in range(K)) for j in range(N)])
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(shares.float(), trust.sum(dim=0) / trust.sum())


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
@pytest.mark.parametrize("binary", [False, True], ids=["ranks", "picks"])
@pytest.mark.parametrize("width", [1, 10, 100, N])
def test_samples_that_are_not_scored_cannot_be_among_the_highest(share, weights, binary, width):
    for seed in range(5):
        judge, scores = make_judge(seed, weights), some_scores(seed)
        if binary:
            scores = (scores > 0.97).float()
        full, _ = score_pool([judge], scores, 0.8, UNIFORM, share, M)
        judge.pool.asked.clear()
        some, _ = score_pool([judge], scores, 0.8, UNIFORM, share, M, width)
        assert len(set(judge.pool.asked)) == len(judge.pool.asked)
        torch.testing.assert_close(some.sort(descending=True).values[:width], full.sort(descending=True).values[:width])
        scored = some.isfinite()
        assert scored.nonzero().squeeze(1).tolist() == sorted(judge.pool.asked)
        torch.testing.assert_close(some[scored], full[scored])


def test_most_of_the_pool_is_left_out_if_few_samples_are_picked():
    judge = make_judge(strength=0.01)
    picks = torch.zeros(N, K)
    for k in range(K):
        picks[10 * k : 10 * k + 40, k] = 1.0
    score_pool([judge], picks, 0.2, UNIFORM, 0.0, M, 20)
    assert len(judge.pool.asked) <= 96


def test_trust_that_underflows_keeps_its_order():
    judge = make_judge(strength=0.01)
    plain, weights = score_pool([judge], some_scores(), 0.5, UNIFORM, 0.0, M)
    nn.init.constant_(judge.net.mixing_head.bias, -500.0)
    tiny, same_weights = score_pool([judge], some_scores(), 0.5, UNIFORM, 0.0, M)
    assert tiny.abs().max() > 0.01
    # There sigmoid(Θ) is exp(Θ): nearly the same, as Θ hardly differs between candidates.
    torch.testing.assert_close(tiny, plain, atol=0.02, rtol=0)
    torch.testing.assert_close(same_weights, weights, atol=0.02, rtol=0)


def test_without_a_judge_the_weights_are_the_prior():
    scores, prior = some_scores(), torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    result, weights = score_pool([], scores, 0.0, prior, 1.0, M, 7)
    torch.testing.assert_close(result, scores @ prior.float())
    torch.testing.assert_close(weights, prior)


def test_scores_that_are_not_finite_are_an_error():
    judge = make_judge()
    nn.init.constant_(judge.net.mixing_head.bias, torch.nan)
    with pytest.raises(DeepALError, match="not finite"):
        score_pool([judge], some_scores(), 0.5, UNIFORM, 0.0, M)
