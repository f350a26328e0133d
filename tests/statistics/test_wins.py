"""Wins, ties and losses against counts computed by hand."""

import pytest

from deepal_autoal.statistics import (
    compare_all,
    significant_wins_ties_losses,
    wins_ties_losses,
    wins_ties_losses_over_datasets,
)

pytestmark = pytest.mark.filterwarnings("error")


def test_wins_ties_and_losses_by_the_margin_of_half_a_point():
    areas = {
        "a": {0: 0.900, 1: 0.900, 2: 0.900},
        "b": {0: 0.905, 1: 0.906, 2: 0.800},  # a tie (exactly the margin), a win, a loss against a
        "c": {1: 0.902},  # one seed in common with the others: ties both
    }
    assert wins_ties_losses(areas) == {"a": (1, 2, 1), "b": (1, 2, 1), "c": (0, 2, 0)}
    assert wins_ties_losses({"a": {0: 0.5}}) == {"a": (0, 0, 0)}
    assert wins_ties_losses({"a": {0: 0.5}, "b": {1: 0.9}}) == {"a": (0, 0, 0), "b": (0, 0, 0)}


def test_wins_by_test():
    """Clearly above, clearly below, and a difference smaller than its noise."""
    noise = (0.0, 0.01, -0.01, 0.02, -0.02, 0.005)
    areas = {
        "best": {seed: 0.9 + 0.1 * value for seed, value in enumerate(noise)},
        "good": dict(enumerate([0.7] * 6)),
        "same": {seed: 0.7 + value for seed, value in enumerate(noise)},
        "short": {seed: 0.1 - value for seed, value in enumerate(noise[:4])},  # too few seeds for a verdict
    }
    counts = significant_wins_ties_losses(compare_all(areas))
    assert counts == {"best": (2, 1, 0), "good": (0, 2, 1), "same": (0, 2, 1), "short": (0, 3, 0)}
    assert significant_wins_ties_losses(compare_all({"alone": {0: 0.5}})) == {}


def test_wins_over_datasets_count_each_rival_once_a_dataset():
    means = {
        "x": {"a": 0.900, "b": 0.905, "c": 0.800},  # a and b tie, both above c
        "y": {"a": 0.700, "b": 0.710, "c": 0.705},  # b above a, c between: ties with both
        "z": {"a": 0.5, "b": 0.6},  # c was not run
    }
    assert wins_ties_losses_over_datasets(means) == {"a": (1, 2, 2), "b": (3, 2, 0), "c": (0, 2, 2)}
    assert wins_ties_losses_over_datasets({"x": {"a": 0.5}}) == {"a": (0, 0, 0)}
