"""Cluster-Margin: the clusters, which stay the same, and the turns that they take."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepal_autoal import InputError
from deepal_strategies import cluster_margin
from deepal_strategies.cluster_margin import ClusterMargin, average_linkage, in_turns


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def naive_average_linkage(rows, epsilon):
    """Return the partition by merging the two clusters with the smallest mean distance, up to ε."""
    rows = np.asarray(rows, dtype=np.float64)
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    clusters = [[i] for i in range(len(rows))]
    while len(clusters) > 1:
        pairs = [
            (distances[np.ix_(a, b)].mean(), i, j) for i, a in enumerate(clusters) for j, b in enumerate(clusters[:i])
        ]
        least, i, j = min(pairs)
        if least > epsilon:
            break
        clusters[j] += clusters.pop(i)
    return {frozenset(cluster) for cluster in clusters}


def partition(labels):
    return {frozenset(np.flatnonzero(labels == one).tolist()) for one in set(labels.tolist())}


@pytest.mark.parametrize("epsilon", [0.3, 1.5, 3.0, 100.0])
def test_clusters_are_those_of_average_linkage(epsilon):
    rows = torch.randn(30, 4, generator=generator())
    labels, cut = average_linkage(rows, epsilon, generator())
    assert partition(labels) == naive_average_linkage(rows, epsilon) and cut == pytest.approx(epsilon)


@pytest.mark.parametrize("scale", [1.0, 1e25])
def test_clusters_hold_ten_samples_on_average(scale):
    rows = torch.randn(60, 4, generator=generator())
    labels, cut = average_linkage(scale * rows, None, generator())
    assert len(set(labels.tolist())) == 6
    assert partition(labels) == naive_average_linkage(rows, cut / scale * (1 + 1e-6))


def test_other_samples_join_the_cluster_with_the_nearest_mean(monkeypatch):
    monkeypatch.setattr(cluster_margin, "LINKAGE_SAMPLES", 40)
    centers = 50 * torch.randn(4, 5, generator=generator())
    owners = torch.randint(4, (300,), generator=generator())
    labels, _ = average_linkage(centers[owners] + torch.randn(300, 5, generator=generator(1)), None, generator())
    assert partition(labels) == partition(owners.numpy())


@pytest.mark.parametrize("seed", range(3))
def test_groups_take_turns_from_the_smallest_on(seed):
    groups = np.random.default_rng(seed).permutation(np.repeat([7, 3, 9, 5], [1, 2, 4, 6]))

    def drawn(n):
        return np.bincount(groups[in_turns(groups, n, np.random.default_rng(seed))], minlength=10)[
            [7, 3, 9, 5]
        ].tolist()

    assert [drawn(n) for n in (1, 2, 4, 6, 7, 9, 13)] == [
        [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 2, 2, 1], [1, 2, 2, 2], [1, 2, 3, 3], [1, 2, 4, 6],
    ]  # fmt: skip


def test_members_and_equal_groups_are_drawn_at_random():
    groups = np.repeat([0, 1, 2], 5)
    firsts = {int(in_turns(groups, 1, np.random.default_rng(seed))[0]) for seed in range(60)}
    assert len(firsts) > 10


def test_only_the_smallest_margins_are_considered(make_round):
    context = make_round(10, 90).context
    probabilities = context.candidates.probabilities().topk(2, dim=1).values
    smallest = (probabilities[:, 0] - probabilities[:, 1]).argsort()[:12].numpy()
    query = ClusterMargin(oversample=2.0).query(context, 6)
    assert set(query.indices.tolist()) <= set(context.candidates.indices[smallest].tolist())
    assert query.report["clusters"] == 10 and context.reported["epsilon"] > 0
    assert len(set(query.indices.tolist())) == 6


def test_clusters_stay_as_they_were_in_the_first_query(make_round, monkeypatch):
    strategy, resumed = ClusterMargin(), ClusterMargin()
    first = make_round(10, 90)
    strategy.query(first.context, 5)
    resumed.load_state_dict(strategy.state_dict())
    monkeypatch.setattr(cluster_margin, "average_linkage", None)  # not called again
    later = make_round(10, 90, embeddings=torch.zeros(100, 8))
    for one in (strategy, resumed):
        again = later.context.rebuild(candidates=later.context.candidates.indices[20:])
        assert len(set(one.query(again, 5).indices.tolist())) == 5
        assert "epsilon" not in again.reported
    with pytest.raises(TypeError):  # samples that it does not know
        strategy.query(make_round(10, 95).context, 5)
    with pytest.raises(InputError, match="samples"):
        resumed.load_state_dict({"other": 1})


@pytest.mark.parametrize("options", [{"oversample": 0.5}, {"epsilon": 0.0}])
def test_invalid_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        ClusterMargin(**options)
