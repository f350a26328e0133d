"""The mean distance to the nearest neighbors, against loops."""

import warnings

import numpy as np
import pytest

from deepal_autoal import BlockSize
from deepal_lowbudget import typicality
from deepal_lowbudget.typicality import mean_neighbor_distances


def naive(rows, n_neighbors):
    means = []
    for i, row in enumerate(rows):
        distances = sorted(
            sum((float(a) - float(b)) ** 2 for a, b in zip(row, other, strict=True)) ** 0.5
            for j, other in enumerate(rows)
            if j != i
        )
        nearest = distances[: max(1, min(n_neighbors, len(rows) // 2))]
        means.append(sum(nearest) / len(nearest) if nearest else 0.0)
    return means


@pytest.mark.parametrize("block", [1 << 18, 100, 1], ids=["one block", "blocks", "rows"])
@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize(("n", "n_neighbors"), [(60, 20), (61, 1), (9, 20), (3, 20), (2, 20), (1, 20)])
def test_against_loops(monkeypatch, block, offset, n, n_neighbors):
    monkeypatch.setattr(typicality, "_DISTANCES", BlockSize(block))
    rows = (offset + np.random.default_rng(n).normal(size=(n, 5))).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(mean_neighbor_distances(rows, n_neighbors), naive(rows, n_neighbors), rtol=1e-6)


def test_by_hand():
    # Half of four rows: two neighbors each.
    rows = np.array([[0.0], [1.0], [3.0], [10.0]])
    assert mean_neighbor_distances(rows, 20).tolist() == [2.0, 1.5, 2.5, 8.0]
    assert mean_neighbor_distances(rows, 1).tolist() == [1.0, 1.0, 2.0, 7.0]


def test_coinciding_samples_far_from_zero_are_equally_typical():
    rng = np.random.default_rng(0)
    rows = (1000 + rng.normal(size=(40, 3))).astype(np.float32)
    rows[[3, 17, 30]] = rows[8]
    means = mean_neighbor_distances(rows, 3)
    assert means[[3, 8, 17, 30]].tolist() == [0.0] * 4
    assert (np.delete(means, [3, 8, 17, 30]) > 0).all()


def test_equal_neighborhoods_tie():
    # In another order a sum of the same distances could differ in its last bit. Integers have exact differences.
    rng = np.random.default_rng(5)
    shape = rng.integers(0, 100, size=(40, 3)).astype(np.float64)
    order = rng.permutation(80)
    means = np.empty(80)
    means[order] = mean_neighbor_distances(np.concatenate([shape, shape + 5000])[order], 20)
    assert means[:40].tolist() == means[40:].tolist()
