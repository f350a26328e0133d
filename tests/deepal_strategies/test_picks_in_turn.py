"""Greedy strategies that pick in turn with others, against naive choices that count everything taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepal_autoal import SelectorStrategy
from deepal_strategies.badge import BADGE
from deepal_strategies.coreset import CoreSet
from deepal_strategies.herding import MaxHerding, UHerding
from deepal_strategies.shared.seeding import seed_in_turn

# Positions among the candidates that others take before each pick, as far as they are free.
OTHERS = ([3, 17], [], [5], [40, 2, 8], [], [11])


def in_turn(strategy, context):
    """Return what is taken after each pick, and the picks, all as positions among the candidates."""
    taken, before, picks = [], [], []
    size = sum(map(len, OTHERS)) + len(OTHERS)
    stream = SelectorStrategy({"own": strategy}).candidate_picks("own", context, size, taken)
    position = {index: place for place, index in enumerate(context.candidates.indices.tolist())}
    for others in OTHERS:
        new = [int(context.candidates.indices[place]) for place in others]
        taken += [index for index in new if index not in taken]
        before.append([position[index] for index in taken])
        picks.append(position[next(stream)])
    return before, picks


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_labeled", [0, 6])
def test_coreset_is_farthest_from_everything_taken(make_round, n_labeled, seed):
    context = make_round(n_labeled, 60, seed=seed).context
    rows, centers = context.candidates.embeddings(), context.labeled.embeddings()
    for taken, pick in zip(*in_turn(CoreSet(), context), strict=True):
        distances = torch.cdist(rows.double(), torch.cat([centers, rows[taken]]).double()).amin(dim=1)
        assert pick == int(distances.argmax())


@pytest.mark.parametrize("strategy", [MaxHerding(radius=0.5), UHerding(radius=0.5, temperature=1.0)])
def test_herding_counts_everything_taken_as_covering(make_round, strategy):
    context = make_round(6, 60).context
    unit = torch.nn.functional.normalize
    rows, labeled = unit(context.candidates.embeddings().double()), unit(context.labeled.embeddings().double())
    weights = torch.ones(60, dtype=torch.float64)
    if isinstance(strategy, UHerding):
        highest = context.candidates.probabilities().double().topk(2).values
        weights = 1 - (highest[:, 0] - highest[:, 1])
    kernel = torch.exp(-(torch.cdist(rows, rows) ** 2) / 0.25)
    for taken, pick in zip(*in_turn(strategy, context), strict=True):
        covering = torch.cat([torch.exp(-(torch.cdist(labeled, rows) ** 2) / 0.25), kernel[taken]]).amax(dim=0)
        gains = (kernel - covering).clamp(min=0) @ weights
        gains[taken] = -1
        assert pick == int(gains.argmax())


def test_badge_draws_by_the_distance_to_everything_taken():
    # One-dimensional rows; others take the first before, and the last after, the first draw.
    places = torch.tensor([0.0, 1.0, 2.0, 4.0, 7.0])
    left, right = torch.ones(5, 1), places[:, None]
    firsts, seconds = np.zeros(5), np.zeros(5)
    for seed in range(600):
        waiting = iter([[0], [4], []])
        rows = seed_in_turn(
            left, right, 4, torch.Generator().manual_seed(seed),
            lambda waiting=waiting: torch.tensor(next(waiting), dtype=torch.int64), "drawn",
        )  # fmt: skip
        first = next(rows)
        firsts[first] += 1
        if first == 2:
            seconds[next(rows)] += 1
    for counts, weights in (firsts, [0, 1, 4, 16, 49]), (seconds, [0, 1, 0, 4, 0]):
        expected = np.array(weights) / np.sum(weights)
        error = np.sqrt(expected * (1 - expected) / counts.sum())
        assert (abs(counts / counts.sum() - expected) <= 4 * error).all()
    assert seconds.sum() > 20


@pytest.mark.parametrize("strategy", [BADGE(), CoreSet(), CoreSet(pca=2), MaxHerding(), UHerding(temperature=1.0)])
@pytest.mark.parametrize("n_labeled", [0, 20])
def test_alone_the_picks_are_those_of_a_query_in_its_order(make_round, strategy, n_labeled):
    selector, context = SelectorStrategy({"own": strategy}), make_round(n_labeled, 90).context
    picks = list(selector.candidate_picks("own", context, 25, []))
    assert picks == selector.ask_candidate("own", context, 25).tolist()


@pytest.mark.parametrize("strategy", [BADGE(), CoreSet(), MaxHerding()])
def test_identical_candidates_are_all_given(make_round, strategy):
    selector = SelectorStrategy({"own": strategy})
    context = make_round(4, 30, logits=torch.zeros(34, 3), embeddings=torch.ones(34, 2)).context
    taken = context.candidates.indices[:5].tolist()
    list(selector.candidate_picks("own", context, 30, taken))
    assert sorted(taken) == context.candidates.indices.tolist()
