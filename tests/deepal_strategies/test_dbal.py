"""Diverse mini-batches: the filter, the weights, and weighted k-means against a plain weighted Lloyd."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from deepal_autoal import InputError
from deepal_strategies.dbal import DBAL
from deepal_strategies.shared import clustering
from deepal_strategies.shared.diverse_batches import cluster_members
from deepal_strategies.shared.final_stage import FinalStage


def naive_informativeness(row):
    first, second = sorted(row, reverse=True)[:2]
    return 1 - (first - second)


def naive_weighted_lloyd(rows, weights, centers):
    """Return the row nearest to each center after Lloyd's iterations with weights, from the given centers."""
    rows, centers = rows.astype(np.float64), centers.astype(np.float64).copy()
    for _ in range(10):
        clusters = [min(range(len(centers)), key=lambda k: ((row - centers[k]) ** 2).sum()) for row in rows]
        for k in range(len(centers)):
            members = [i for i, cluster in enumerate(clusters) if cluster == k]
            total = sum(weights[i] for i in members)
            centers[k] = sum(weights[i] * rows[i] for i in members) / total
    chosen = set()
    for k, center in enumerate(centers):
        members = [i for i, cluster in enumerate(clusters) if cluster == k]
        chosen.add(min(members, key=lambda i: ((rows[i] - center) ** 2).sum()))
    return chosen


def blobs(n_blobs=5, size=20, seed=0):
    rng = np.random.default_rng(seed)
    centers = 60 * rng.normal(size=(n_blobs, 6))
    return (centers[:, None] + rng.normal(size=(n_blobs, size, 6))).reshape(-1, 6), centers


def two_class_logits(informativeness):
    """Return logits of two classes with p_(1) - p_(2) = 1 - informativeness."""
    gap = 1 - torch.as_tensor(informativeness, dtype=torch.float64)
    first = (1 + gap) / 2
    return torch.stack([first, 1 - first], dim=1).log().float()


@pytest.mark.parametrize("seed", range(5))
def test_weights_change_which_samples_are_nearest(seed):
    rows, centers = blobs(seed=seed)
    weights = np.random.default_rng(seed + 50).random(100) ** 8
    expected = naive_weighted_lloyd(rows, weights, centers)
    assert len(expected - naive_weighted_lloyd(rows, np.ones(100), centers)) >= 2
    chosen = cluster_members(torch.as_tensor(rows), 5, np.random.default_rng(seed), torch.as_tensor(weights))[0]
    assert set(chosen.tolist()) == expected


def test_equal_weights_choose_as_no_weights_do():
    rows, centers = blobs()
    expected = naive_weighted_lloyd(rows, np.ones(100), centers)
    for weights in (None, torch.full((100,), 0.3), torch.zeros(100)):
        chosen = cluster_members(torch.as_tensor(rows), 5, np.random.default_rng(0), weights)[0]
        assert set(chosen.tolist()) == expected


def test_the_unit_of_the_weights_does_not_matter():
    rows, centers = blobs()
    weights = torch.rand(100, generator=torch.Generator().manual_seed(0)) ** 8
    expected = naive_weighted_lloyd(rows, weights.tolist(), centers)
    for unit in (1e-30, 1e30):
        chosen = cluster_members(torch.as_tensor(rows), 5, np.random.default_rng(0), unit * weights)[0]
        assert set(chosen.tolist()) == expected


def test_a_subset_is_weighted_too(monkeypatch):
    monkeypatch.setattr(clustering, "SUBSET_ROWS", 19)
    rows = np.arange(40.0)[:, None].repeat(3, axis=1) + 1000 * (np.arange(40) >= 20)[:, None]
    weights = torch.zeros(40)
    weights[[3, 37]] = 1.0
    chosen, report = cluster_members(torch.as_tensor(rows), 2, np.random.default_rng(0), weights, full_pass_limit=0)
    assert report["form"] == "subset"
    assert sorted(chosen.tolist()) == [3, 37]


@pytest.mark.parametrize("n_weighted", [0, 1, 3])
def test_rows_without_weight_fill_the_batch_and_are_spread(n_weighted):
    # Six distant blobs with fewer weighted rows than clusters: each blob still gives a sample.
    rows, _ = blobs(6, 10)
    weights = torch.zeros(60)
    weights[4 : 10 * n_weighted : 10] = 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = cluster_members(torch.as_tensor(rows), 6, np.random.default_rng(0), weights)[0]
    assert len(set(chosen.tolist())) == 6
    assert sorted(chosen // 10) == [0, 1, 2, 3, 4, 5]
    assert {10 * blob + 4 for blob in range(n_weighted)} <= set(chosen.tolist())


@pytest.mark.parametrize("seed", range(3))
def test_the_batch_follows_its_definition(make_round, seed):
    rows, centers = blobs(6, 30, seed)
    rng = np.random.default_rng(seed)
    # Four blobs are informative, a few samples by far the most; the others are filtered out.
    share = rng.random(180)
    high, low = 0.02 + 0.03 * share + 0.95 * share**12, 0.018 * rng.random(180)
    logits = two_class_logits(np.where(np.arange(180) < 120, high, low))
    table = torch.as_tensor(rows, dtype=torch.float32)
    context = make_round(0, 180, 2, logits=logits, embeddings=table, labels=np.arange(180) % 2).context
    weights = np.array([naive_informativeness(row) for row in logits.double().softmax(dim=1).tolist()])
    kept = np.argsort(-weights)[:100]

    def batch(of, counting):
        return {int(of[i]) for i in naive_weighted_lloyd(rows[of], counting, centers[:4])}

    expected = batch(kept, weights[kept])
    assert expected != batch(kept, np.ones(100)) and expected != batch(np.arange(180), weights)
    assert set(DBAL(beta=25).query(context, 4).tolist()) == expected


def test_the_filter_keeps_ten_batches_by_default(make_round):
    informativeness = np.linspace(0.01, 0.99, 200)
    context = make_round(0, 200, 2, logits=two_class_logits(informativeness), labels=np.arange(200) % 2).context
    chosen = set()
    for seed in range(20):
        chosen |= set(DBAL().query(context.for_candidate(str(seed)), 4).tolist())
    assert min(chosen) >= 160 and min(chosen) < 180


def test_beta_one_takes_the_smallest_margins(make_round):
    context = make_round(10, 60).context
    margins = context.candidates.probabilities().topk(2, dim=1).values
    smallest = (margins[:, 0] - margins[:, 1]).argsort()[:7].numpy()
    assert set(DBAL(beta=1).query(context, 7).tolist()) == set(context.candidates.indices[smallest].tolist())


@pytest.mark.parametrize("batch_size", [1, 7, 59, 60])
@pytest.mark.parametrize(
    "logits",
    [
        pytest.param(None, id="ordinary"),
        pytest.param(torch.zeros(70, 3), id="uniform"),
        pytest.param(1e4 * torch.eye(3)[torch.arange(70) % 3], id="one-hot"),
        pytest.param(torch.eye(3)[torch.arange(70) % 3].log(), id="minus-infinity"),
        pytest.param(torch.cat([1e4 * torch.eye(3)[torch.arange(66) % 3], torch.zeros(4, 3)]), id="few-informative"),
    ],
)
@pytest.mark.parametrize(
    "embeddings",
    [
        pytest.param(None, id="blobs"),
        pytest.param(torch.zeros(70, 4), id="zero"),
        pytest.param(1e8 * torch.eye(4)[torch.arange(70) % 4], id="coinciding"),
    ],
)
def test_any_batch_is_exact(make_round, batch_size, logits, embeddings):
    context = make_round(10, 60, 3, logits=logits, embeddings=embeddings).context
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = DBAL().query(context, batch_size)
    assert len(set(chosen.tolist())) == batch_size
    assert np.isin(chosen, context.candidates.indices).all()


def test_all_weights_zero_is_plain_k_means(make_round):
    rows, centers = blobs(3, 20)
    logits = 1e4 * torch.eye(2)[torch.arange(60) % 2]
    context = make_round(
        0, 60, 2, logits=logits, embeddings=torch.as_tensor(rows, dtype=torch.float32), labels=np.arange(60) % 2
    ).context
    chosen = DBAL(beta=20).query(context, 3)
    assert set(chosen.tolist()) == naive_weighted_lloyd(rows, np.ones(60), centers)


def test_equal_candidates_are_not_chosen_by_position(make_round):
    picks = set()
    for seed in range(3):
        context = make_round(5, 50, logits=torch.zeros(55, 3), embeddings=torch.zeros(55, 4), seed=seed).context
        positions = np.searchsorted(context.candidates.indices, DBAL(beta=2).query(context, 5))
        picks.add(tuple(sorted(positions.tolist())))
    assert len(picks) == 3


def test_a_thousand_classes_give_the_same_batch_again(make_round):
    logits = torch.randn(90, 1000, generator=torch.Generator().manual_seed(0))
    first, second = (DBAL().query(make_round(10, 80, 1000, logits=logits).context, 4) for _ in range(2))
    assert first.tolist() == second.tolist()
    assert DBAL.requires == {"probabilities", "embeddings"}


def test_the_final_stage_with_equal_weights_is_that_without(make_round):
    context = make_round(10, 60).context
    scores = torch.rand(60, generator=torch.Generator().manual_seed(0))
    weighted = FinalStage("diverse", 4).choose(context.for_candidate("a"), scores, 5, torch.ones(60))
    plain = FinalStage("diverse", 4).choose(context.for_candidate("a"), scores, 5)
    assert weighted.tolist() == plain.tolist()


def test_beta_below_one_is_refused():
    with pytest.raises(InputError, match="beta is 0; it must be a finite number of at least 1"):
        DBAL(beta=0)
