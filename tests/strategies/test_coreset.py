"""k-center greedy against full distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepal_strategies import coreset
from deepal_strategies.coreset import CoreSet, farthest_first


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def naive(rows, centers, n_chosen):
    """Greedy k-center by the full distance matrix, in float64."""
    everything = torch.cat([centers, rows]).double().numpy()
    distances = np.sqrt(((everything[:, None] - everything[None]) ** 2).sum(axis=2))
    covered = list(range(len(centers)))
    for _ in range(n_chosen):
        covered.append(int(distances[:, covered].min(axis=1).argmax()))
    return [index - len(centers) for index in covered[len(centers) :]]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offset", [0.0, 300.0])
@pytest.mark.parametrize("block", [1 << 22, 100])
def test_equals_full_distances(monkeypatch, seed, offset, block):
    monkeypatch.setattr(coreset, "_BLOCK", block)
    rows = torch.randn(80, 5, generator=generator(seed)) + offset
    centers = torch.randn(9, 5, generator=generator(seed + 50)) + offset
    assert farthest_first(rows, centers, 30, generator()).tolist() == naive(rows, centers, 30)


@pytest.mark.parametrize("unit", [1e-15, 1e15])
def test_units_do_not_matter(unit):
    rows, centers = torch.randn(50, 3, generator=generator()), torch.randn(4, 3, generator=generator(1))
    assert farthest_first(unit * rows, unit * centers, 20, generator()).tolist() == naive(rows, centers, 20)


def test_it_covers_candidates_by_the_labelled_set_too(make_round):
    context = make_round(8, 60).context
    expected = naive(context.candidates.embeddings(), context.labeled.embeddings(), 12)
    assert CoreSet().query(context, 12).tolist() == context.candidates.indices[expected].tolist()


def test_without_labelled_samples_the_first_is_random_and_the_rest_is_greedy():
    rows = torch.randn(60, 4, generator=generator(3))
    firsts = set()
    for seed in range(8):
        chosen = farthest_first(rows, rows[:0], 10, generator(seed)).tolist()
        assert chosen[1:] == naive(torch.cat([rows, rows[chosen[:1]]]), rows[chosen[:1]], 9)
        firsts.add(chosen[0])
    assert len(firsts) > 3


@pytest.mark.parametrize("n_centers", [0, 1, 5])
@pytest.mark.parametrize("value", [0.0, 0.1, 12345.678])
def test_identical_rows_give_distinct_picks_that_do_not_go_by_position(n_centers, value):
    rows = torch.full((100, 7), value)
    picks = [farthest_first(rows, rows[:n_centers], 20, generator(seed)).tolist() for seed in range(6)]
    assert all(len(set(chosen)) == 20 for chosen in picks)
    assert len({chosen[0] for chosen in picks}) > 3


def test_each_place_is_taken_once_before_any_twice():
    rows = torch.randn(25, 6, generator=generator()).repeat(3, 1) + 40
    chosen = farthest_first(rows, rows[:1], 30, generator()).numpy()
    assert len(set((chosen[:24] % 25).tolist())) == 24 and 0 not in chosen[:24] % 25
    assert len(set(chosen.tolist())) == 30


@pytest.mark.parametrize("batch_size", [1, 59, 60])
def test_any_batch_size(make_round, batch_size):
    context = make_round(3, 60).context
    chosen = CoreSet().query(context, batch_size)
    assert len(set(chosen.tolist())) == batch_size and np.isin(chosen, context.candidates.indices).all()


def test_no_matrix_of_distances(monkeypatch, largest_tensor):
    monkeypatch.setattr(coreset, "_BLOCK", 1 << 14)
    rows, centers = torch.randn(2000, 16, generator=generator()), torch.randn(1500, 16, generator=generator(1))
    with largest_tensor as largest:
        farthest_first(rows, centers, 20, generator())
    assert largest.numel <= 2000 * 16
