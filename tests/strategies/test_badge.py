"""BADGE against materialised gradients and an explicit k-means++."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from deepal_strategies import badge
from deepal_strategies.badge import BADGE, seed_by_distance


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def factors(n, n_classes=4, n_dims=6, seed=0):
    logits = 2 * torch.randn(n, n_classes, generator=generator(seed))
    p = logits.softmax(dim=1)
    return p - F.one_hot(p.argmax(dim=1), n_classes), torch.randn(n, n_dims, generator=generator(seed + 1))


def explicit(gradients, n_seeds, draws):
    """k-means++ as it is written down: distances to all chosen points, anew for every draw."""
    chosen = [int((gradients**2).sum(axis=1).argmax())]
    while len(chosen) < n_seeds:
        d2 = np.array([min(((g - gradients[c]) ** 2).sum() for c in chosen) for g in gradients])
        d2[chosen] = 0
        sums = np.cumsum(d2)
        chosen.append(int(np.argmax(sums > draws[len(chosen)] * sums[-1])))
    return chosen


def materialised(left, right):
    return (left.double()[:, :, None] * right.double()[:, None, :]).flatten(1).numpy()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n_classes", "n_dims"), [(2, 1), (4, 6), (9, 3)])
def test_equals_explicit_seeding_on_materialised_gradients(seed, n_classes, n_dims):
    left, right = factors(70, n_classes, n_dims, seed)
    draws = torch.rand(20, generator=generator(seed), dtype=torch.float64).numpy()
    expected = explicit(materialised(left, right), 20, draws)
    assert seed_by_distance(left, right, 20, generator(seed)).tolist() == expected


def test_a_batch_is_the_seeding_of_last_layer_gradients(make_round):
    """The factors are those of autograd's gradient of the predicted label's cross-entropy."""
    context = make_round(5, 40, n_classes=3).context
    probabilities, embeddings = context.candidates.probabilities(), context.candidates.embeddings()
    gradients = []
    for p, h in zip(probabilities, embeddings, strict=True):
        # A layer that gives exactly these logits for this embedding: the bias makes up for the rest.
        weight = torch.zeros(3, len(h), requires_grad=True)
        F.cross_entropy((p.log() + weight @ h)[None], p.argmax()[None]).backward()
        gradients.append(weight.grad.flatten())
    draws = torch.rand(10, generator=_copy(context.generator), dtype=torch.float64).numpy()
    expected = explicit(torch.stack(gradients).double().numpy(), 10, draws)
    assert BADGE().query(context, 10).tolist() == context.candidates.indices[expected].tolist()


def _copy(original):
    copy = torch.Generator()
    copy.set_state(original.get_state())
    return copy


def test_draws_follow_the_squared_distance():
    # Rows on a line at 10 (chosen first), 9, 8, 6 and 0: D² is 1, 4, 16 and 100 of 121.
    right = torch.tensor([[10.0], [9.0], [8.0], [6.0], [0.0]])
    counts = np.zeros(5)
    for seed in range(2000):
        first, second = seed_by_distance(torch.ones(5, 1), right, 2, generator(seed)).tolist()
        assert first == 0
        counts[second] += 1
    expected = 2000 * np.array([0, 1, 4, 16, 100]) / 121
    assert counts[0] == 0
    assert ((counts - expected)[1:] ** 2 / expected[1:]).sum() < 20  # chi-square with 3 degrees: p = 2e-4


@pytest.mark.parametrize("unit", [1e-18, 1.0, 1e18])
def test_equal_rows_are_drawn_last_in_any_unit(unit):
    left, right = factors(40)
    left, right = left.repeat(2, 1) * unit, (right + 1000).repeat(2, 1) * unit
    chosen = seed_by_distance(left, right, 45, generator()).numpy()
    assert len(set(chosen.tolist())) == 45
    assert len(set((chosen[:40] % 40).tolist())) == 40
    same = seed_by_distance(left / unit, right / unit, 45, generator()).numpy()
    assert (chosen[:40] % 40).tolist() == (same[:40] % 40).tolist()


@pytest.mark.parametrize(("n_classes", "n_dims", "seed"), [(1000, 64, 0), (2, 2048, 4), (10, 8192, 2)])
def test_copies_have_no_distance_although_long_sums_round(n_classes, n_dims, seed):
    """Rounding errors that passed for distances would be drawn from; without any, a random order fills the batch."""
    left, right = factors(1, n_classes, n_dims, seed)
    left, right = left.repeat(90, 1), right.relu().add(0.1).repeat(90, 1)
    fresh = generator(seed)
    torch.rand(30, generator=fresh, dtype=torch.float64)
    expected = torch.randperm(90, generator=fresh).argsort(descending=True)[:30].tolist()
    assert seed_by_distance(left, right, 30, generator(seed)).tolist() == expected


def test_chosen_rows_are_never_drawn_even_if_rounding_were_worse(monkeypatch):
    products = badge._products
    monkeypatch.setattr(badge, "_products", lambda *arguments: 0.99 * products(*arguments))
    for seed in range(5):
        assert len(set(seed_by_distance(*factors(20), 20, generator(seed)).tolist())) == 20


@pytest.mark.parametrize(("draw", "expected"), [(0.0, 1), (0.5, 3), (0.75, 4)])
def test_a_draw_on_a_step_of_the_cumulative_sum_takes_the_row_after_it(monkeypatch, draw, expected):
    # D² is 0, 1, 1, 1, 1 after the first row.
    right = torch.tensor([[2.0], [1.0], [1.0], [1.0], [1.0]])
    monkeypatch.setattr(torch, "rand", lambda n, **kind: torch.full((n,), draw, dtype=kind["dtype"]))
    picks = {seed_by_distance(torch.ones(5, 1), right, 2, generator(seed))[1].item() for seed in range(5)}
    assert picks == {expected}


@pytest.mark.parametrize("kind", ["equal rows", "zero gradients", "ties for the longest"])
def test_ties_never_go_by_position(kind):
    left, right = torch.ones(100, 3), torch.ones(100, 2)
    if kind == "zero gradients":
        left.zero_()
    if kind == "ties for the longest":
        right = torch.stack([torch.linspace(0, 1, 100), (1 - torch.linspace(0, 1, 100) ** 2).sqrt()], dim=1).round(
            decimals=0
        )
    firsts = set()
    for seed in range(10):
        chosen = seed_by_distance(left, right, 20, generator(seed)).tolist()
        assert len(set(chosen)) == 20
        firsts.add(chosen[0])
    assert len(firsts) > 3


def test_only_the_first_of_equal_length_is_left_to_chance():
    right = torch.tensor([[3.0], [1.0], [-3.0], [2.0], [3.0]])
    firsts = {int(seed_by_distance(torch.ones(5, 1), right, 1, generator(seed))) for seed in range(20)}
    assert firsts == {0, 2, 4}


@pytest.mark.parametrize("batch_size", [1, 2, 59, 60])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_any_batch_size_also_with_certain_predictions(make_round, batch_size, scale):
    context = make_round(4, 60, logits=scale * torch.randn(64, 3, generator=generator())).context
    chosen = BADGE().query(context, batch_size)
    assert len(set(chosen.tolist())) == batch_size and np.isin(chosen, context.candidates.indices).all()


def test_a_thousand_classes():
    left, right = factors(30, n_classes=1000, n_dims=2)
    draws = torch.rand(8, generator=generator(), dtype=torch.float64).numpy()
    assert seed_by_distance(left, right, 8, generator()).tolist() == explicit(materialised(left, right), 8, draws)


def test_neither_the_gradients_nor_distances_nor_copies_of_the_factors_are_made(monkeypatch, watch):
    monkeypatch.setattr(badge, "_CHUNK_ROWS", 50)
    left, right = factors(2000, n_classes=20, n_dims=30)
    with watch:
        seed_by_distance(left, right, 25, generator())
    assert 2000 <= watch.largest <= 50 * 50  # a number a row, or a chunk


def test_nothing_is_read_back_from_the_device(watch):
    left, right = factors(100)
    with watch:
        seed_by_distance(left, right, 25, generator())
    assert watch.reads == 0
