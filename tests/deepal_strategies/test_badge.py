"""BADGE against explicit gradients and a plain k-means++."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from deepal_autoal import BlockSize, InputError
from deepal_strategies.badge import BADGE
from deepal_strategies.shared import scaling, seeding
from deepal_strategies.shared.lazy_greedy import choose_eagerly
from deepal_strategies.shared.seeding import seed_by_distance


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def factors(n, n_classes=4, n_dims=6, seed=0):
    logits = 2 * torch.randn(n, n_classes, generator=generator(seed))
    p = logits.softmax(dim=1)
    return p - F.one_hot(p.argmax(dim=1), n_classes), torch.randn(n, n_dims, generator=generator(seed + 1))


def naive_seeding(gradients, n_seeds, variates, weights=None, first="longest"):
    """Seeding by exponential variates as defined: for every draw, distances to all chosen points, in float64."""
    weights = np.ones(len(gradients)) if weights is None else weights
    chosen, remainders, rates = [], variates.copy(), weights.astype(float)
    while len(chosen) < n_seeds:
        free = ~np.isin(np.arange(len(gradients)), chosen)
        span = 0.0
        if not chosen and first == "longest":
            row = (weights * (gradients**2).sum(axis=1)).argmax()
        elif (rates[free] > 0).any():
            times = np.full(len(gradients), np.inf)
            np.divide(remainders, rates, out=times, where=free & (rates > 0))
            row, span = times.argmin(), times.min()
        else:
            row = np.where(free, remainders, np.inf).argmin()
        remainders -= rates * span
        chosen.append(int(row))
        d2 = ((gradients[:, None] - gradients[chosen][None]) ** 2).sum(axis=2).min(axis=1)
        rates = weights * d2
    return chosen


def draw_variates(n, source):
    """Return the exponential variates that a generator gives to n rows."""
    return -np.log1p(-torch.rand(n, generator=source, dtype=torch.float64).numpy())


def explicit_gradients(left, right):
    return (left.double()[:, :, None] * right.double()[:, None, :]).flatten(1).numpy()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n_classes", "n_dims"), [(2, 1), (4, 6), (9, 3)])
def test_equals_naive_seeding_on_explicit_gradients(seed, n_classes, n_dims):
    left, right = factors(70, n_classes, n_dims, seed)
    expected = naive_seeding(explicit_gradients(left, right), 20, draw_variates(70, generator(seed)))
    assert seed_by_distance(left, right, 20, generator(seed)).tolist() == expected


def test_a_batch_is_the_seeding_of_last_layer_gradients(make_round):
    """The factors are those of autograd's gradient of the predicted label's cross-entropy."""
    context = make_round(5, 40, n_classes=3).context
    probabilities, embeddings = context.candidates.probabilities(), context.candidates.embeddings()
    gradients = []
    for p, h in zip(probabilities, embeddings, strict=True):
        # A layer that returns exactly these logits for this embedding: the bias supplies the rest.
        weight = torch.zeros(3, len(h), requires_grad=True)
        F.cross_entropy((p.log() + weight @ h)[None], p.argmax()[None]).backward()
        gradients.append(weight.grad.flatten())
    variates = draw_variates(40, _copy(context.generator))
    expected = naive_seeding(torch.stack(gradients).double().numpy(), 10, variates)
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
    """Rounding errors must not count as distances; with all distances 0, a random order fills the batch."""
    left, right = factors(1, n_classes, n_dims, seed)
    left, right = left.repeat(90, 1), right.relu().add(0.1).repeat(90, 1)
    chosen = seed_by_distance(left, right, 30, generator(seed)).tolist()
    variates = draw_variates(90, generator(seed))
    variates[chosen[0]] = np.inf
    assert chosen[1:] == variates.argsort()[:29].tolist()


@pytest.mark.parametrize("first", ["longest", "drawn"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "n_seeds"), [(60, 60), (700, 40)])
def test_weights_and_both_kinds_of_first_row(first, seed, n, n_seeds):
    left, right = (part.double() for part in factors(n, 3, 5, seed))
    weights = 1e6 * torch.rand(n, generator=generator(seed + 9)).relu()
    weights[::7] = 0
    gradients, variates = explicit_gradients(left, right), draw_variates(n, generator(seed))
    expected = naive_seeding(gradients, n_seeds, variates, weights.double().numpy(), first)
    chosen = seed_by_distance(left, right, n_seeds, generator(seed), weights, first)
    assert chosen.tolist() == expected


def test_the_first_row_is_drawn_by_weight():
    weights, counts = torch.tensor([1.0, 2.0, 0.0, 5.0]), np.zeros(4)
    for seed in range(1600):
        counts[int(seed_by_distance(torch.ones(4, 1), torch.zeros(4, 1), 1, generator(seed), weights, "drawn"))] += 1
    expected = np.array([200.0, 400.0, 1000.0])
    assert counts[2] == 0
    assert ((counts[[0, 1, 3]] - expected) ** 2 / expected).sum() < 17  # 2 degrees: p = 2e-4


def test_an_unknown_kind_of_first_row_is_refused():
    with pytest.raises(InputError, match="'longest' or 'drawn'"):
        seed_by_distance(*factors(5), 2, generator(), first="nearest")


@pytest.fixture
def updated_pairs(monkeypatch):
    """Count the pairs of a row and a seed that are computed."""
    pairs = []
    update = seeding._ExponentialQueue.update

    def count(queue, first, last):
        pairs.append(len(queue) * (last - first))
        update(queue, first, last)

    monkeypatch.setattr(seeding._ExponentialQueue, "update", count)
    return pairs


def shapes(kind, n):
    left, right = factors(n)
    if kind == "clusters":
        left, right = factors(10)[0].repeat(n // 10, 1), 1e-2 * right + factors(10)[1].repeat(n // 10, 1)
    if kind == "equal rows":
        left, right = torch.ones(n, 2), torch.ones(n, 3)
    if kind == "orthogonal rows":
        left, right = torch.ones(n, 1), torch.eye(100).repeat(n // 100, 1)
    if kind == "few of any length":
        left = left * (torch.arange(n) % 50 == 0)[:, None]
    return left, right


KINDS = ["spread", "clusters", "equal rows", "orthogonal rows", "few of any length"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_pair_is_computed_twice(updated_pairs, kind):
    assert len(set(seed_by_distance(*shapes(kind, 3000), 300, generator()).tolist())) == 300
    assert sum(updated_pairs) <= 3000 * 300


def test_most_pairs_are_never_computed(updated_pairs):
    """Guards against work that grows as the pool times the batch."""
    seed_by_distance(*shapes("spread", 30_000), 300, generator())
    assert sum(updated_pairs) < 0.2 * 30_000 * 300


@pytest.mark.parametrize("kind", ["equal rows", "few of any length"])
def test_rows_at_distance_zero_do_not_cause_updates_of_each_other(updated_pairs, kind):
    seed_by_distance(*shapes(kind, 30_000), 1000, generator())
    assert sum(updated_pairs) < 0.3 * 30_000 * 1000


@pytest.mark.parametrize("kind", KINDS)
def test_lazy_draws_equal_eager_draws(kind):
    left, right = (part.double() for part in shapes(kind, 2000))
    queue = seeding._ExponentialQueue.at_start(left, right, 400, generator(1), None)
    expected = choose_eagerly(queue, 0, 400)
    assert seed_by_distance(left, right, 400, generator(1), first="drawn").tolist() == expected.tolist()


@pytest.mark.parametrize("kind", ["equal rows", "zero gradients", "ties for the longest"])
def test_ties_are_never_broken_by_position(kind):
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


def test_ties_for_the_greatest_length_are_broken_at_random():
    right = torch.tensor([[3.0], [1.0], [-3.0], [2.0], [3.0]])
    firsts = {int(seed_by_distance(torch.ones(5, 1), right, 1, generator(seed))) for seed in range(20)}
    assert firsts == {0, 2, 4}


@pytest.mark.parametrize("batch_size", [1, 2, 59, 60])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_any_batch_size_even_with_certain_predictions(make_round, batch_size, scale):
    context = make_round(4, 60, logits=scale * torch.randn(64, 3, generator=generator())).context
    chosen = BADGE().query(context, batch_size)
    assert len(set(chosen.tolist())) == batch_size and np.isin(chosen, context.candidates.indices).all()


def test_a_thousand_classes():
    left, right = factors(30, n_classes=1000, n_dims=2)
    expected = naive_seeding(explicit_gradients(left, right), 8, draw_variates(30, generator()))
    assert seed_by_distance(left, right, 8, generator()).tolist() == expected


def test_neither_gradients_nor_distances_nor_copies_of_the_factors_are_formed(monkeypatch, watch):
    monkeypatch.setattr(seeding, "SEEDING", BlockSize(3000))
    monkeypatch.setattr(scaling, "SQUARES", BlockSize(3000))
    left, right = factors(4000, n_classes=20, n_dims=30)
    with watch:
        seed_by_distance(left, right, 25, generator())
    assert 4000 <= watch.largest <= 2 * 256 * 30  # one number per row, a block, or an active set


def test_eager_choices_read_nothing_back_from_the_device(watch):
    queue = seeding._ExponentialQueue.at_start(*factors(100), 25, generator(), None)
    with watch:
        choose_eagerly(queue, 0, 25)
    assert watch.reads == 0


def test_the_gradient_of_a_certain_sample_keeps_its_digits(make_round):
    # p - 1 is 0 in single precision where the others' probabilities sum to 4e-9.
    logits = torch.tensor([[20.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    context = make_round(0, 2, n_classes=3, logits=logits).context
    q, _ = context.candidates.gradient_factors()
    exact = logits.double().softmax(dim=1)
    expected = exact - torch.nn.functional.one_hot(exact.argmax(dim=1), 3)
    torch.testing.assert_close(q.double(), expected, rtol=1e-5, atol=0.0)
    assert q[0].abs().max() > 0
