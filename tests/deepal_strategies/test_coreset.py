"""k-center greedy against full distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from deepal_autoal import BlockSize, InputError
from deepal_strategies import coreset
from deepal_strategies.coreset import CoreSet, farthest_first
from deepal_strategies.shared import scaling
from deepal_strategies.shared.lazy_greedy import choose_eagerly


@pytest.fixture(autouse=True, params=[0, coreset._FEW_NUMBERS], ids=["lazy", "direct"])
def form(request, monkeypatch):
    """Both forms of the choice, which the number of rows would decide between."""
    monkeypatch.setattr(coreset, "_FEW_NUMBERS", request.param)
    return request.param


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
@pytest.mark.parametrize("block", [1 << 22, 100, 16])
def test_equals_full_distances(monkeypatch, seed, offset, block):
    monkeypatch.setattr(coreset, "DISTANCES", BlockSize(block))
    rows = torch.randn(80, 5, generator=generator(seed)) + offset
    centers = torch.randn(9, 5, generator=generator(seed + 50)) + offset
    assert farthest_first(rows, centers, 30, generator()).tolist() == naive(rows, centers, 30)


@pytest.mark.parametrize("spread", [1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("labeled", [True, False])
def test_distances_within_tight_clusters_are_exact(spread, labeled):
    """‖x‖² + ‖y‖² - 2 x·y in single precision loses them."""
    places = 10 * torch.randn(10, 64, generator=generator())
    rows = places.repeat(20, 1) + spread * torch.randn(200, 64, generator=generator(1))
    centers = places.repeat(3, 1) + spread * torch.randn(30, 64, generator=generator(2))
    if labeled:
        assert farthest_first(rows, centers, 30, generator()).tolist() == naive(rows, centers, 30)
    else:
        chosen = farthest_first(rows, rows[:0], 30, generator()).tolist()
        assert chosen[1:] == naive(rows, rows[chosen[:1]], 29)


@pytest.mark.parametrize("unit", [1e-30, 1e-15, 1e15, 1e30])
def test_units_do_not_matter(unit):
    rows, centers = torch.randn(50, 3, generator=generator()), torch.randn(4, 3, generator=generator(1))
    assert farthest_first(unit * rows, unit * centers, 20, generator()).tolist() == naive(rows, centers, 20)


def test_the_labeled_set_covers_candidates_too(make_round):
    context = make_round(8, 60).context
    expected = naive(context.candidates.embeddings(), context.labeled.embeddings(), 12)
    assert CoreSet().query(context, 12).tolist() == context.candidates.indices[expected].tolist()


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("n_labeled", [0, 8])
def test_principal_components_are_those_of_scikit_learn(monkeypatch, n_labeled, offset):
    monkeypatch.setattr(coreset, "DISTANCES", BlockSize(64))
    scales = torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.1])
    rows = torch.randn(70, 6, generator=generator()) * scales + offset
    parts = coreset.principal_components((rows[n_labeled:], rows[:n_labeled]), 3)
    assert [tuple(part.shape) for part in parts] == [(70 - n_labeled, 3), (n_labeled, 3)]
    ours = torch.cat(parts[::-1]).numpy()
    expected = PCA(3, svd_solver="full").fit_transform(rows.double().numpy())
    np.testing.assert_allclose(abs(ours), abs(expected), atol=1e-4)


def test_distances_are_those_of_the_principal_components(make_round):
    context = make_round(8, 60, embeddings=torch.randn(68, 20, generator=generator())).context
    rows, centers = context.candidates.embeddings(), context.labeled.embeddings()
    projected = PCA(4, svd_solver="full").fit_transform(torch.cat([centers, rows]).double().numpy())
    expected = naive(torch.as_tensor(projected[8:]), torch.as_tensor(projected[:8]), 12)
    assert CoreSet(pca=4).query(context, 12).tolist() == context.candidates.indices[expected].tolist()
    assert CoreSet(pca=20).query(context, 12).tolist() == CoreSet().query(context, 12).tolist()
    with pytest.raises(InputError, match="pca"):
        CoreSet(pca=0)


def test_without_labeled_samples_the_first_is_random_and_the_rest_is_greedy():
    rows = torch.randn(60, 4, generator=generator(3))
    firsts = set()
    for seed in range(8):
        chosen = farthest_first(rows, rows[:0], 10, generator(seed)).tolist()
        assert chosen[1:] == naive(torch.cat([rows, rows[chosen[:1]]]), rows[chosen[:1]], 9)
        firsts.add(chosen[0])
    assert len(firsts) > 3


@pytest.mark.parametrize("n_centers", [0, 1, 5])
@pytest.mark.parametrize("value", [0.0, 0.1, 12345.678])
def test_identical_rows_give_distinct_picks_independent_of_position(n_centers, value):
    rows = torch.full((100, 7), value)
    picks = [farthest_first(rows, rows[:n_centers], 20, generator(seed)).tolist() for seed in range(6)]
    assert all(len(set(chosen)) == 20 for chosen in picks)
    assert len({chosen[0] for chosen in picks}) > 3
    assert len({chosen[-1] for chosen in picks}) > 3


def test_each_distinct_point_is_chosen_once_before_any_twice():
    rows = torch.randn(25, 6, generator=generator()).repeat(3, 1) + 40
    chosen = farthest_first(rows, rows[:1], 30, generator()).numpy()
    assert len(set((chosen[:24] % 25).tolist())) == 24 and 0 not in chosen[:24] % 25
    assert len(set(chosen.tolist())) == 30


def test_one_dimension_and_many():
    points = torch.tensor([[0.0], [1.0], [5.0], [10.0], [8.0]])
    assert farthest_first(points, points[:1], 4, generator()).tolist() == [3, 2, 4, 1]
    rows = torch.randn(40, 3000, generator=generator())
    assert farthest_first(rows, rows[:3], 15, generator()).tolist() == naive(rows, rows[:3], 15)


@pytest.mark.parametrize("batch_size", [1, 59, 60])
@pytest.mark.parametrize("n_labeled", [0, 1, 3])
def test_any_batch_size(make_round, batch_size, n_labeled):
    context = make_round(n_labeled, 60).context
    chosen = CoreSet().query(context, batch_size)
    assert len(set(chosen.tolist())) == batch_size and np.isin(chosen, context.candidates.indices).all()


def test_no_distance_matrix_is_formed(monkeypatch, watch, form):
    monkeypatch.setattr(coreset, "DISTANCES", BlockSize(1 << 14))
    monkeypatch.setattr(scaling, "SQUARES", BlockSize(1 << 14))
    rows, centers = torch.randn(4000, 16, generator=generator()), torch.randn(1000, 16, generator=generator(1))
    with watch:
        farthest_first(rows, centers, 20, generator())
    # One number per row, a block, or the centers; or a copy of few rows.
    assert 4000 <= watch.largest <= max(1 << 14, min(form, rows.numel()))


@pytest.fixture
def updated_pairs(monkeypatch):
    """Count the pairs of a row and a center or choice that are computed."""
    pairs = []
    update = coreset._DistanceQueue.update

    def count(queue, first, last):
        pairs.append(len(queue) * (last - first))
        update(queue, first, last)

    monkeypatch.setattr(coreset._DistanceQueue, "update", count)
    return pairs


def shapes(kind, n):
    if kind == "spread":
        return torch.randn(n, 32, generator=generator())
    if kind == "tight clusters":
        return torch.randn(10, 8, generator=generator()).repeat(n // 10, 1) + 1e-3 * torch.randn(
            n, 8, generator=generator(1)
        )
    if kind == "equal distances":
        return torch.eye(100).repeat(n // 100, 1)
    return torch.ones(n, 3)


@pytest.mark.parametrize("n_centers", [0, 30])
@pytest.mark.parametrize("kind", ["spread", "tight clusters", "equal distances", "equal rows"])
def test_no_pair_is_computed_twice(updated_pairs, kind, n_centers):
    rows = shapes(kind, 3000)
    farthest_first(rows, rows[:n_centers], 300, generator())
    assert sum(updated_pairs) <= 3000 * (n_centers + 300)


def test_most_pairs_are_never_computed(updated_pairs):
    """Guards against work that grows as the pool times the batch."""
    rows = shapes("spread", 30_000)
    farthest_first(rows[100:], rows[:100], 300, generator())
    assert sum(updated_pairs) - 29_900 * 100 < 0.05 * 29_900 * 300


@pytest.mark.parametrize("n_centers", [0, 7])
@pytest.mark.parametrize("kind", ["spread", "tight clusters", "equal distances", "equal rows"])
def test_lazy_choices_equal_eager_choices(kind, n_centers):
    rows = shapes(kind, 2000)
    queue = coreset._DistanceQueue.at_start(rows, rows[:n_centers], 400, generator())
    if n_centers:
        queue.update(0, n_centers)
    expected = choose_eagerly(queue, n_centers, n_centers + 400)
    assert farthest_first(rows, rows[:n_centers], 400, generator()).tolist() == expected.tolist()
