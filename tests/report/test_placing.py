"""Label positions are apart, close to the wanted ones, and in order."""

import itertools

import numpy as np
import pytest

from deepal_autoal.report.figures.label_layout import spread


def test_by_hand():
    assert spread([], 1, 0, 9) == []
    assert spread([3.0], 1, 0, 9) == [3.0]
    assert spread([5.0, 1.0], 1, 0, 9) == [5.0, 1.0]  # nothing in the way
    assert spread([4.0, 4.0], 1, 0, 9) == [3.5, 4.5]  # both move the same way
    assert spread([4.0, 4.2, 8.0], 1, 0, 9) == pytest.approx([3.6, 4.6, 8.0])
    assert spread([-2.0, 0.1], 1, 0, 9) == [0.0, 1.0]
    assert spread([9.0, 9.0, 9.0], 1, 0, 9) == [7.0, 8.0, 9.0]
    assert spread([1.0, 1.0, 1.0], 4, 0, 5) == [0.0, 4.0, 8.0]  # more than there is room for


def test_no_layout_on_a_grid_has_smaller_squared_distances():
    rng = np.random.default_rng(0)
    grid = np.arange(0, 11)
    for _ in range(30):
        wanted = rng.integers(0, 11, 3).astype(float)
        found = np.array(spread(wanted, 2, 0, 10))
        assert np.diff(np.sort(found)).min() >= 2 - 1e-9 and found.min() >= 0 and found.max() <= 10
        assert all(found[i] <= found[j] for i, j in itertools.permutations(range(3), 2) if wanted[i] < wanted[j])
        order = np.argsort(wanted, kind="stable")
        best = min(
            ((np.array(places) - wanted[order]) ** 2).sum()
            for places in itertools.product(grid, repeat=3)
            if np.diff(places).min() >= 2
        )
        assert ((found - wanted) ** 2).sum() <= best + 1e-9
