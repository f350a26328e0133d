"""Proof that it searches: weights follow high losses, and a search that learns nothing fails the same test.

A candidate's votes are planted on the samples with high loss. A working search must find that candidate, whichever it
is and also when the planted votes move; searches without a gradient, or with shuffled rows, must not.
"""

from __future__ import annotations

import pytest
import torch

from deepal_autoal import ScoringStrategy
from deepal_strategies.autoal import equations
from deepal_strategies.autoal.search import Search
from deepal_strategies.autoal.strategy import AutoAL

pytestmark = pytest.mark.slow

N_LABELED, N_POOL, K = 200, 100, 4


class Planted(ScoringStrategy):
    """Prefers the marked pool indices; otherwise noise."""

    def __init__(self, seed, marked=None):
        self.noise = torch.rand(N_LABELED + N_POOL, generator=torch.Generator().manual_seed(seed))
        self.marked = torch.zeros_like(self.noise) if marked is None else marked.float()

    def score(self, context):
        rows = torch.tensor(context.candidates.indices)
        return self.noise[rows] + self.marked[rows]


def hard_samples(seed):
    """Return which samples have a label that contradicts their embeddings, so FitNet's loss on them is high."""
    return torch.rand(N_LABELED + N_POOL, generator=torch.Generator().manual_seed(50 + seed)) < 0.15


def planted_round(make_round, seed):
    plain, hard = make_round(N_LABELED, N_POOL, seed=seed), hard_samples(seed)
    labels = plain.labels.copy()
    labels[hard.numpy()] = (labels[hard.numpy()] + 1) % 3
    return make_round(N_LABELED, N_POOL, seed=seed, labels=labels, embeddings=plain.trainer.embeddings)


def planted_candidates(place, seed):
    return {f"c{k}": Planted(10 * seed + k, hard_samples(seed) if k == place else None) for k in range(K)}


def weights_of(make_round, place, seed=0, **options):
    """Return the weights of one round after three cycles, without shrinkage to those of earlier rounds."""
    strategy = AutoAL(planted_candidates(place, seed), **{"n_cycles": 3, "shrinkage": 0.0, **options})
    return list(strategy.query(planted_round(make_round, seed).context, 20).report["weights"].values())


def n_found(make_round, seeds=(0, 1, 0, 1), **options):
    """Return for how many places, each with its seed, the planted candidate has the largest weight by far."""
    found = 0
    for place, seed in enumerate(seeds):
        weights = weights_of(make_round, place, seed, **options)
        found += weights[place] > 1.2 * max(weights[:place] + weights[place + 1 :])
    return found


@pytest.mark.parametrize(
    "options",
    [{}, {"weights": "sigmoid"}, {"objective": "centred"}, {"networks": "half-heads"}, {"threshold": "quantile"}],
    ids=lambda options: next(iter(options), "default"),
)
def test_the_candidate_that_picks_high_losses_gets_the_largest_weight(make_round, options):
    # The default in all cases, every place with both seeds; the others in two.
    if options:
        assert n_found(make_round, seeds=(0, 1), **options) == 2
    else:
        assert n_found(make_round) == n_found(make_round, seeds=(1, 0, 1, 0)) == K


def test_with_all_defaults_it_is_still_the_largest(make_round):
    for place in range(K):
        weights = weights_of(make_round, place, n_cycles=1, shrinkage=None)
        assert max(weights) == weights[place]


def test_frozen_and_random_weights_do_not_find_it(make_round):
    for place in range(K):
        frozen = weights_of(make_round, place, search="frozen")
        assert max(frozen) - min(frozen) < 0.05
    assert n_found(make_round, search="frozen") == 0
    # The same draw for all places of a seed, so each seed finds at most one of them.
    found = [n_found(make_round, seeds=[seed] * K, search="random") for seed in range(2)]
    assert max(found) <= 1
    drawn = weights_of(make_round, 0, search="random")
    assert drawn == weights_of(make_round, 1, search="random")


def test_a_search_without_a_gradient_does_not_find_it(make_round, monkeypatch):
    learned = Search.scores

    def detached(self, half, rows, threshold):
        scores, stages = learned(self, half, rows, threshold)
        return scores.detach(), stages

    monkeypatch.setattr(Search, "scores", detached)
    assert n_found(make_round) == 0


def test_a_search_with_shuffled_rows_does_not_find_it(make_round, monkeypatch):
    aligned = equations.utilities

    def shuffled(cross_entropy, alignment, objective):
        order = torch.randperm(len(cross_entropy), generator=torch.Generator().manual_seed(0))
        return aligned(cross_entropy, alignment, objective)[order]

    monkeypatch.setattr(equations, "utilities", shuffled)
    assert n_found(make_round) <= 1


def test_rewarding_low_losses_reverses_the_search(make_round, monkeypatch):
    aligned = equations.utilities
    monkeypatch.setattr(equations, "utilities", lambda *arguments: -aligned(*arguments))
    for place in range(K):
        weights = weights_of(make_round, place)
        assert min(weights) == weights[place]


def test_a_common_rise_of_all_losses_changes_nothing(make_round, monkeypatch):
    """The printed objective fails here: it sums all losses, which hides the differences."""
    plain = weights_of(make_round, 2)
    judged = equations.utilities
    monkeypatch.setattr(equations, "utilities", lambda losses, *rest: judged(losses + 100.0, *rest))
    torch.testing.assert_close(torch.tensor(weights_of(make_round, 2)), torch.tensor(plain), atol=1e-4, rtol=0)
    printed = weights_of(make_round, 2, objective="loss")
    assert printed[2] < 1.2 * max(printed[:2] + printed[3:])


def test_the_weights_follow_when_the_planted_votes_move(make_round):
    """Networks kept between rounds can unlearn what they learned first."""
    first, second = planted_candidates(1, 0), planted_candidates(3, 0)
    strategy = AutoAL(first, memory="warm", shrinkage=0.0)
    before = list(strategy.query(planted_round(make_round, 0).context, 20).report["weights"].values())
    strategy.candidates = second
    for _ in range(4):
        after = list(strategy.query(planted_round(make_round, 0).context, 20).report["weights"].values())
    assert max(before) == before[1]
    assert max(after) == after[3]


def trust_by_region(make_round, seed):
    """Return the mean trust of two candidates, each right in its half of the space, by half: (2, 2)."""
    plain, hard = make_round(N_LABELED, N_POOL, seed=seed), hard_samples(seed)
    labels = plain.labels.copy()
    labels[hard.numpy()] = (labels[hard.numpy()] + 1) % 3
    embeddings = plain.trainer.embeddings.clone()
    # A separate direction distinguishes the two halves of the space.
    embeddings[:, 0] = torch.where(torch.arange(len(embeddings)) % 2 == 0, 3.0, -3.0)
    right = embeddings[:, 0] > 0
    candidates = {"right": Planted(1, hard == right), "left": Planted(2, hard != right)}
    context = make_round(N_LABELED, N_POOL, seed=seed, labels=labels, embeddings=embeddings).context
    strategy = AutoAL(candidates, networks="heads", weight_decay=0.0, n_cycles=3, loss_module=False)
    search, _, _ = strategy._search(context, 20)
    trust = search.judges[0].log_trust(context.candidates.embeddings()).exp().detach()
    on_right = right[torch.tensor(context.candidates.indices)]
    return torch.stack([trust[on_right].mean(dim=0), trust[~on_right].mean(dim=0)])


def test_each_region_trusts_the_candidate_that_is_right_there(make_round):
    """Weights are by sample: two candidates mark high losses in one half of the space and low ones in the other."""
    means = torch.stack([trust_by_region(make_round, seed) for seed in range(3)]).mean(dim=0)
    assert means[0, 0] > 1.2 * means[0, 1]
    assert means[1, 1] > 1.2 * means[1, 0]
