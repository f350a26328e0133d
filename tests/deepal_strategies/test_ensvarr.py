"""Variation ratio over ensembles: hand-made members, and five trained ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from deepal_autoal import InputError, LabeledData, Objective, QueryContext, QueryError, Recipe, Trainer, UnlabeledData
from deepal_autoal.models.mlp import build
from deepal_autoal.querying.outputs import OutputCache
from deepal_autoal.querying.strategy import check_query
from deepal_autoal.training.inputs import Inputs, Normalization
from deepal_strategies.ensvarr import EnsembleVariationRatio


def naive_varratio(votes):
    counts = {}
    for vote in votes:
        counts[vote] = counts.get(vote, 0) + 1
    return 1 - max(counts.values()) / len(votes)


def with_members(context, votes, n_classes):
    """Give a context members with the given votes, (M, N), each with a different certainty."""
    members = []
    for number, row in enumerate(votes):
        probabilities = np.full((len(row), n_classes), 0.1 * (number + 1) / n_classes)
        probabilities[np.arange(len(row)), row] += 1 - 0.1 * (number + 1)
        members.append(torch.as_tensor(probabilities, dtype=torch.float32))
    table = torch.stack(members)

    def answer(n_members=5):
        assert n_members == len(votes)
        return table

    context.candidates.ensemble_probabilities = answer
    return context


@pytest.mark.parametrize("n_members", [2, 3, 5])
@pytest.mark.parametrize("n_classes", [2, 4, 1000])
def test_score_is_the_share_outside_the_mode(make_round, n_members, n_classes):
    rng = np.random.default_rng(n_members)
    votes = rng.integers(min(n_classes, 4), size=(n_members, 60))
    context = with_members(make_round(5, 60, n_classes).context, votes, n_classes)
    scores = EnsembleVariationRatio(n_members).score(context)
    expected = [naive_varratio(votes[:, i].tolist()) for i in range(60)]
    np.testing.assert_allclose(scores.numpy(), expected, atol=1e-6)


def test_five_kinds_of_disagreement_are_ordered(make_round):
    votes = np.array([[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 1, 1, 2], [0, 0, 1, 2, 3], [4, 3, 2, 1, 0]]).T
    context = with_members(make_round(5, 5, 5).context, votes, 5)
    np.testing.assert_allclose(EnsembleVariationRatio().score(context).numpy(), [0, 0.2, 0.6, 0.6, 0.8], atol=1e-6)
    chosen = np.searchsorted(context.candidates.indices, EnsembleVariationRatio().query(context, 4))
    assert chosen[0] == 4 and set(chosen[1:3].tolist()) == {2, 3} and chosen[3] == 1


def test_equal_scores_are_not_chosen_by_position(make_round):
    picks = set()
    for seed in range(3):
        context = with_members(make_round(5, 50, seed=seed).context, np.zeros((5, 50), dtype=int), 3)
        positions = np.searchsorted(context.candidates.indices, EnsembleVariationRatio().query(context, 10))
        assert len(set(positions.tolist())) == 10
        picks.add(tuple(sorted(positions.tolist())))
    assert len(picks) == 3


def test_nan_is_refused(make_round):
    context = with_members(make_round(5, 50).context, np.zeros((5, 50), dtype=int), 3)
    context.candidates.ensemble_probabilities(5)[3, 7] = math.nan
    with pytest.raises(QueryError, match="NaN for 1 of 50"):
        EnsembleVariationRatio().query(context, 3)


def test_a_single_member_is_refused():
    with pytest.raises(InputError, match="n_members is 1; it must be a finite number of at least 2"):
        EnsembleVariationRatio(1)


def test_only_the_further_members_are_trained_and_only_once(make_round):
    drawn = make_round(20, 30)
    for _ in range(2):
        EnsembleVariationRatio(3).query(drawn.context, 5)
    assert len(drawn.trainer.fits) == 3
    for labeled, unlabeled, _ in drawn.trainer.fits[1:]:
        assert labeled.indices.tolist() == drawn.context.labeled.indices.tolist()
        assert set(unlabeled.indices.tolist()) == set(drawn.context.candidates.indices.tolist())
    assert EnsembleVariationRatio.requires == {"ensemble"}


def test_five_trained_members():
    x, y = load_digits(return_X_y=True)
    images = (x.reshape(-1, 8, 8, 1)[:220] * 15).astype(np.uint8)
    labels = y[:220].astype(np.int64)
    device = torch.device("cpu")
    inputs = Inputs(images, Normalization.fit(images), device)
    labeled, unlabeled = np.arange(60), np.arange(60, 220)
    known, rest = LabeledData(inputs, labeled, labels[labeled]), UnlabeledData(inputs, unlabeled)
    starts, orders = [], []

    class Watched(Objective):
        def __init__(self, model):
            super().__init__(model)
            starts.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone())
            orders.append([])
            self.order = orders[-1]

        def forward(self, inputs, labels, progress):
            self.order.append(labels.tolist())
            return super().forward(inputs, labels, progress)

    trainer = Trainer(lambda: build((1, 8, 8), 10), Recipe(epochs=1, min_steps=6), device, Watched)
    model = trainer.fit(known, rest, seed=0)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}

    def context():
        cache = OutputCache(inputs, trainer, (0, 0))
        cache.add(model, known, rest, (0, 0))
        return QueryContext(
            candidates=unlabeled,
            labeled=labeled,
            labels=labels[labeled],
            model=model,
            cache=cache,
            n_classes=10,
            round=0,
            n_rounds=1,
            key=(0, 0, "query"),
        )

    current, state = context(), torch.get_rng_state()
    strategy = EnsembleVariationRatio()
    answer = check_query(strategy, strategy.query(current, 10), unlabeled, 10)
    members = current.candidates.ensemble_probabilities(5)
    assert len(starts) == len(orders) == 5
    for first in range(5):
        for second in range(first):
            assert not torch.equal(starts[first], starts[second])
            assert orders[first] != orders[second]
            assert not torch.equal(members[first], members[second])
    # Every member sees all labels equally often.
    for order in orders:
        shown = np.bincount(np.concatenate(order), minlength=10)
        np.testing.assert_array_equal(shown * 60, np.bincount(labels[:60], minlength=10) * shown.sum())
    assert torch.equal(members[0], current.candidates.probabilities())
    expected = [naive_varratio(members[:, i].argmax(dim=1).tolist()) for i in range(len(unlabeled))]
    np.testing.assert_allclose(strategy.score(current).numpy(), expected, atol=1e-6)
    assert len(set(expected)) > 2
    again = strategy.query(context(), 10)
    assert again.tolist() == answer.indices.tolist()
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
