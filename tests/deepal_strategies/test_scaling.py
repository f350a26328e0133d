"""Units of rows, and rows without one."""

from __future__ import annotations

import pytest
import torch

from deepal_autoal import QueryError
from deepal_strategies.badge import BADGE
from deepal_strategies.coreset import CoreSet
from deepal_strategies.kmeans import KMeansSampling
from deepal_strategies.shared.scaling import unit_of


@pytest.mark.parametrize("largest", [1e-30, 1e-3, 0.5, 1.0, 255.0, 1e4, 1e30])
def test_a_unit_is_a_power_of_two_that_gives_entries_of_usual_size(largest):
    rows = torch.tensor([[0.0, largest / 3], [-largest, 0.0]])
    unit = unit_of(rows, rows[:0], 0.1 * rows)
    assert torch.tensor(unit).frexp().mantissa == 0.5
    assert 2**-9 <= largest * unit <= 2**8
    assert unit == 1.0 or 0.5 <= largest * unit < 1


def test_zeros_and_empty_matrices_keep_their_unit():
    assert unit_of(torch.zeros(3, 2)) == unit_of(torch.empty(0, 2)) == unit_of() == 1.0


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("strategy", [BADGE, CoreSet, KMeansSampling])
def test_embeddings_that_are_not_finite_are_refused(make_round, strategy, value):
    """Distances to them are not numbers, yet the batch would look like any other."""
    context = make_round(5, 40).context
    strategy().query(context, 3)
    context = make_round(5, 40).context
    embeddings = context.candidates.embeddings().clone()
    embeddings[17, 1] = value
    vars(context.candidates).update(
        embeddings=lambda: embeddings, gradient_factors=lambda: (embeddings.new_ones(40, 1), embeddings)
    )
    with pytest.raises(QueryError, match="not finite"):
        strategy().query(context, 3)
