"""k-means sampling: the right members, and always the right number of them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from deepal_autoal import InputError
from deepal_strategies.kmeans import KMeansSampling
from deepal_strategies.shared import clustering
from deepal_strategies.shared.diverse_batches import cluster_members
from deepal_strategies.shared.final_stage import FinalStage


def blobs(n_blobs=5, size=12, seed=0):
    rng = np.random.default_rng(seed)
    centers = 50 * rng.normal(size=(n_blobs, 6))
    return (centers[:, None] + rng.normal(size=(n_blobs, size, 6))).reshape(-1, 6)


def naive_nearest(rows, groups):
    chosen = set()
    for group in groups:
        center = rows[group].mean(axis=0)
        chosen.add(min(group, key=lambda i: ((rows[i] - center) ** 2).sum()))
    return chosen


@pytest.mark.parametrize("limit", [10**9, 0])
def test_the_member_nearest_to_each_center_is_chosen(monkeypatch, limit):
    monkeypatch.setattr(clustering, "SUBSET_ROWS", 6)
    rows = blobs()
    chosen, _ = cluster_members(torch.as_tensor(rows), 5, np.random.default_rng(0), full_pass_limit=limit)
    assert sorted(chosen // 12) == [0, 1, 2, 3, 4]
    if limit:
        assert set(chosen.tolist()) == naive_nearest(rows, [range(k * 12, k * 12 + 12) for k in range(5)])


@pytest.mark.parametrize("n_distinct", [1, 2, 7])
def test_fewer_distinct_points_than_clusters_still_fill_the_batch(n_distinct):
    rows = torch.arange(30)[:, None].remainder(n_distinct).float().repeat(1, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = cluster_members(rows, 10, np.random.default_rng(1))[0]
    assert len(set(chosen.tolist())) == 10
    assert set((chosen % n_distinct).tolist()) == set(range(n_distinct))


@pytest.mark.parametrize("batch_size", [1, 59, 60])
def test_any_batch_size_is_exact(make_round, batch_size):
    context = make_round(10, 60).context
    query = KMeansSampling().query(context, batch_size)
    chosen = np.asarray(query.indices)
    assert set(query.report["clustering"]) == {"form", "rows", "iterations", "inertia"}
    assert len(set(chosen.tolist())) == batch_size
    assert np.isin(chosen, context.candidates.indices).all()


def test_identical_embeddings_are_not_chosen_by_position():
    chosen = cluster_members(torch.zeros(100, 3), 10, np.random.default_rng(0))[0]
    assert len(set(chosen.tolist())) == 10
    assert chosen.max() > 20


def test_huge_embeddings_are_clustered_like_small_ones():
    rows = torch.as_tensor(blobs(), dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = cluster_members(1e30 * rows, 5, np.random.default_rng(0))[0]
    assert sorted(chosen // 12) == [0, 1, 2, 3, 4]


def test_the_same_generator_gives_the_same_batch():
    rows = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    first, second = (cluster_members(rows, 20, np.random.default_rng(3))[0] for _ in range(2))
    assert first.tolist() == second.tolist()


def test_final_stage_filters_then_spreads(make_round):
    # Four tight blobs among the candidates; all of the highest scores are in the first two.
    rows = torch.as_tensor(blobs(4, 25), dtype=torch.float32)
    context = make_round(0, 100, embeddings=rows, labels=np.arange(100) % 3).context
    blob = torch.tensor(context.candidates.indices) // 25
    scores = torch.tensor([3.0, 2.9, 1.0, 0.0])[blob] + 0.01 * torch.rand(100)
    top = FinalStage("top").choose(context, scores, 4)
    assert set((top // 25).tolist()) == {0}
    assert set(top.tolist()) == set(context.candidates.indices[scores.topk(4).indices.numpy()].tolist())
    spread = FinalStage("diverse", 25).choose(context, scores, 2)
    assert set((spread // 25).tolist()) == {0, 1}
    everything = FinalStage("diverse", 10).choose(context, scores, 60)
    assert len(set(everything.tolist())) == 60
    assert context.reported["clustering"]["form"] == "full"


def test_a_negative_limit_is_refused():
    with pytest.raises(InputError, match="full_pass_limit"):
        KMeansSampling(full_pass_limit=-1.0)
