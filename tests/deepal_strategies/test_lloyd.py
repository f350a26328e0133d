"""Lloyd's iterations and their start, against plain double precision and scikit-learn; work is counted, not timed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from deepal_strategies.shared import clustering, lloyd
from deepal_strategies.shared.clustering import greedy_seeds, k_means
from deepal_strategies.shared.diverse_batches import cluster_members
from deepal_strategies.shared.lloyd import Lloyd


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def plain_lloyd(rows, centers, weights, n_iterations):
    """Return labels and inertia in float64, moving all centers and comparing all pairs in each iteration."""
    rows, centers = rows.astype(np.float64), centers.astype(np.float64).copy()
    for iteration in range(n_iterations + 1):
        squared = ((rows[:, None] - centers) ** 2).sum(axis=2)
        labels = squared.argmin(axis=1)
        if iteration < n_iterations:
            for k in np.unique(labels):
                centers[k] = np.average(rows[labels == k], axis=0, weights=weights[labels == k])
    return labels, squared.min(axis=1).sum()


@pytest.mark.parametrize("n_iterations", [1, 4, 20])
@pytest.mark.parametrize("weighted", [False, True])
def test_lloyd_equals_the_plain_iteration(monkeypatch, n_iterations, weighted):
    monkeypatch.setattr(lloyd, "TOLERANCE", 0.0)
    rows = normal(600, 8)
    weights = torch.rand(600, generator=generator(1)) + 0.1 if weighted else torch.ones(600)
    run = Lloyd(rows, rows[:40], weights)
    run.run(n_iterations)
    labels, inertia = plain_lloyd(rows.numpy(), rows[:40].numpy(), weights.numpy(), n_iterations)
    assert run.labels.tolist() == labels.tolist()
    assert float(run.distances().sum()) == pytest.approx(inertia, rel=1e-5)


@pytest.mark.parametrize("case", ["plain", "weighted", "few", "repeated", "empty"])
def test_the_form_without_waiting_does_the_same(case):
    rows, n_clusters = normal(300, 4), 40
    weights = torch.rand(300, generator=generator(1)) + 0.1 if case == "weighted" else torch.ones(300)
    if case == "repeated":
        rows = rows[:30].repeat(10, 1)
    centers = rows[:n_clusters].clone()
    if case == "empty":
        centers[5:25] = 50.0 + torch.arange(20.0)[:, None]
    plain, masked = Lloyd(rows, centers, weights), Lloyd(rows, centers, weights)
    n_iterations = 3 if case == "few" else 30
    plain.run(n_iterations)
    masked._run_without_waiting(n_iterations)
    assert torch.equal(plain.labels, masked.labels) and int(plain.moves) == int(masked.moves)
    torch.testing.assert_close(plain.centers, masked.centers)
    assert (int(plain.moves) == 3) == (case == "few")


def test_rows_are_compared_only_with_moved_centers(monkeypatch):
    # Well-separated blobs with one center each, except one blob, which two centers still have to divide.
    anchors = 100.0 * torch.eye(10, 16)
    rows = torch.cat([anchors[:9].repeat_interleave(50, 0) + normal(450, 16), anchors[9] + 3.0 * normal(300, 16)])
    counted = []
    compare = lloyd.compare

    def count(block, centers, halves, out):
        counted.append(len(block) * len(centers))
        return compare(block, centers, halves, out)

    monkeypatch.setattr(lloyd, "compare", count)
    run = Lloyd(rows, torch.cat([rows[:450:50], rows[450:452]]), torch.ones(750))
    run.run(1)
    all_pairs = 750 * 11
    assert sum(counted) == 2 * all_pairs
    counted.clear()
    run.run(2)
    assert sum(counted) == 300 * 11 + 450 * 2


def test_an_empty_cluster_takes_the_farthest_row():
    rows = torch.cat([normal(50, 4), 30.0 + normal(1, 4)])
    far_away = torch.full((1, 4), 1e4)
    run = Lloyd(rows, torch.cat([rows[:1], far_away]), torch.ones(51))
    run.run(20)
    assert (run.labels == 1).nonzero().flatten().tolist() == [50]


def test_a_cluster_that_gives_a_far_row_and_a_coinciding_one_has_changed():
    rows = torch.cat([torch.zeros(5, 4), torch.ones(1, 4)])
    run = Lloyd(rows, torch.stack([torch.zeros(4), torch.full((4,), 50.0), torch.full((4,), 60.0)]), torch.ones(6))
    run._changed.zero_()
    run._fill(2)
    assert run.labels.tolist() == [0, 0, 0, 0, 0, 1]
    assert run._changed.tolist() == [True, True, False]


@pytest.mark.parametrize("normed", [False, True])
def test_inertia_is_close_to_scikit_learns(normed):
    rows = load_digits().data.astype(np.float32)
    if normed:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    expected = KMeans(150, random_state=0).fit(rows).inertia_
    assert k_means(torch.as_tensor(rows), 150, generator()).inertia() <= 1.02 * expected


def test_inertia_of_separated_clusters_is_that_of_their_members():
    anchors = 10.0 * normal(100, 16)
    rows = anchors.repeat_interleave(20, 0) + normal(2000, 16, seed=1)
    means = rows.view(100, 20, 16).mean(dim=1, keepdim=True)
    expected = float((rows.view(100, 20, 16) - means).square().sum())
    assert k_means(rows, 100, generator()).inertia() <= 1.02 * expected


def test_weights_equal_repeated_rows():
    rows, times = normal(80, 3), torch.arange(80) % 4 + 1
    centers = rows[:12]
    weighed = Lloyd(rows, centers, times.float())
    repeated = Lloyd(rows.repeat_interleave(times, 0), centers, torch.ones(int(times.sum())))
    weighed.run(20)
    repeated.run(20)
    assert weighed.labels.repeat_interleave(times).tolist() == repeated.labels.tolist()


@pytest.mark.parametrize("change", ["far", "huge", "tiny"])
def test_offset_and_scale_do_not_change_the_clusters(change):
    rows = normal(300, 16).mul(1024).round() / 1024  # exact even with the offset
    changed = {"far": rows + 1024.0, "huge": rows * 2.0**100, "tiny": rows * 2.0**-100}[change]
    expected, clusters = k_means(rows, 20, generator()), k_means(changed, 20, generator())
    assert clusters.inertia() / (2.0 ** {"far": 0, "huge": 200, "tiny": -200}[change]) == pytest.approx(
        expected.inertia(), rel=0.05
    )
    assert torch.unique(clusters.labels).numel() == 20


@pytest.mark.parametrize("rows", [torch.zeros(40, 3), torch.full((40, 3), 7.3), normal(2, 3).repeat(20, 1)])
@pytest.mark.parametrize("batch_size", [1, 5, 39])
def test_coinciding_rows_fill_the_batch(rows, batch_size):
    chosen = cluster_members(rows, batch_size, np.random.default_rng(0))[0]
    assert len(set(chosen.tolist())) == batch_size
    if batch_size > 1:
        assert len(torch.unique(rows[chosen], dim=0)) == len(torch.unique(rows, dim=0))


def test_a_single_cluster_gives_the_row_nearest_to_the_mean():
    rows = normal(500, 6)
    expected = int((rows - rows.mean(dim=0)).square().sum(dim=1).argmin())
    assert cluster_members(rows, 1, np.random.default_rng(0))[0].tolist() == [expected]


def test_lloyd_does_not_depend_on_the_order_of_the_rows():
    rows = normal(400, 6)
    order = torch.randperm(400, generator=generator(3))
    straight, mixed = Lloyd(rows, rows[:30], torch.ones(400)), Lloyd(rows[order], rows[:30], torch.ones(400))
    straight.run(20)
    mixed.run(20)
    assert straight.labels[order].tolist() == mixed.labels.tolist()


def test_greedy_seeds_are_distinct_rows():
    rows = normal(60, 4)
    assert len(set(greedy_seeds(rows, 60, generator(), torch.ones(60)).tolist())) == 60


def test_the_subset_is_used_only_above_the_limit_and_reported(monkeypatch):
    monkeypatch.setattr(clustering, "SUBSET_ROWS", 10)
    rows = 50.0 * torch.eye(5, 8).repeat(100, 1) + normal(500, 8)
    at_limit, below = (
        cluster_members(rows, 5, np.random.default_rng(0), full_pass_limit=limit) for limit in (20_000, 19_999)
    )
    assert (at_limit[1]["form"], at_limit[1]["rows"]) == ("full", 500)
    assert (below[1]["form"], below[1]["rows"]) == ("subset", 50)
    assert sorted((below[0] % 5).tolist()) == [0, 1, 2, 3, 4]
    assert below[1]["inertia"] < 1.2 * at_limit[1]["inertia"]
