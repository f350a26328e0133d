"""Which clusters give a sample, and which of their samples: against loops, and in hand-made cases."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from deepal_autoal import ActiveLearner, Dataset, InputError, create_strategy, run
from deepal_lowbudget import clustering
from deepal_lowbudget.clustering import cluster
from deepal_lowbudget.typiclust import TypiClust, choose, share_out

QUICK = {"model": "linear", "recipe": {"epochs": 1, "min_steps": 2}, "device": "cpu"}


def blob(rng, center, n):
    return np.array(center) + 0.3 * rng.normal(size=(n, 2))


def spread(rows, row, members, n_neighbors):
    distances = sorted(float(np.linalg.norm(rows[row] - rows[other])) for other in members if other != row)
    nearest = distances[: max(1, min(n_neighbors, len(members) // 2))]
    return sum(nearest) / max(1, len(nearest))


def naive_batch(rows, clusters, is_labeled, batch_size, n_neighbors):
    groups = {number: np.flatnonzero(clusters == number) for number in set(clusters.tolist())}
    taken = {int(row) for row in np.flatnonzero(is_labeled)}
    batch = []
    while len(batch) < batch_size:
        best = None
        for members in groups.values():
            free = [int(row) for row in members if row not in taken]
            key = (len(members) <= 5, len(members) - len(free), -len(members))
            if free and (best is None or key < best[0]):
                best = key, members, free
        _, members, free = best
        batch.append(min(free, key=lambda row: spread(rows, row, members, n_neighbors)))
        taken.add(batch[-1])
    return batch


@pytest.mark.parametrize("batch_size", [1, 4, 9, 30, 77])
@pytest.mark.parametrize("n_neighbors", [1, 20])
def test_the_batch_equals_that_of_loops(batch_size, n_neighbors):
    rng = np.random.default_rng(batch_size)
    clusters = rng.permutation(np.repeat(np.arange(11), [40, 23, 17, 11, 0, 9, 6, 5, 4, 2, 1]))
    rows = rng.normal(size=(len(clusters), 4)).astype(np.float32)
    is_labeled = np.zeros(len(rows), dtype=bool)
    is_labeled[rng.choice(len(rows), 12, replace=False)] = True
    calls = []
    chosen = choose(
        rows, clusters, is_labeled, batch_size, n_neighbors, rng, lambda done, total: calls.append((done, total))
    )
    assert sorted(chosen.tolist()) == sorted(naive_batch(rows, clusters, is_labeled, batch_size, n_neighbors))
    assert len(set(chosen.tolist())) == batch_size and not is_labeled[chosen].any()
    assert [done for done, _ in calls] == list(range(calls[0][1]))


def test_clusters_take_turns():
    # Sizes 8, 7, 6 and three tiny ones; the largest and one of the tiny ones already have a label.
    clusters = np.repeat(np.arange(6), [8, 7, 6, 5, 5, 1])
    is_labeled = np.zeros(len(clusters), dtype=bool)
    is_labeled[[0, 21]] = True

    def shares(batch_size):
        return share_out(clusters, is_labeled, batch_size, np.random.default_rng(0)).tolist()

    assert shares(1) == [0, 1, 0, 0, 0, 0]
    assert shares(2) == [0, 1, 1, 0, 0, 0]
    assert shares(3) == [1, 1, 1, 0, 0, 0]
    assert shares(5) == [1, 2, 2, 0, 0, 0]
    assert shares(20) == [7, 7, 6, 0, 0, 0]
    assert shares(22) == [7, 7, 6, 0, 1, 1]
    assert shares(30) == [7, 7, 6, 4, 5, 1]


def test_ties_between_clusters_are_broken_at_random():
    clusters = np.repeat(np.arange(4), 6)
    none = np.zeros(len(clusters), dtype=bool)
    first = {int(np.argmax(share_out(clusters, none, 1, np.random.default_rng(seed)))) for seed in range(40)}
    assert first == {0, 1, 2, 3}


class View:
    """Rows of a table, in the form of a context's view."""

    def __init__(self, indices, embeddings):
        self.indices = np.array(indices)
        self.embeddings = lambda: embeddings

    def __len__(self):
        return len(self.indices)


def ask(pool, labeled, batch_size, **options):
    learner = ActiveLearner(pool, create_strategy("typiclust", **options), n_classes=2, **QUICK)
    learner.tell(labeled, np.arange(len(labeled)) % 2)
    return learner.query(batch_size)


@pytest.mark.parametrize("features", ["auto", "inputs", "embeddings"])
def test_uncovered_groups_get_their_most_typical_sample(features):
    rng = np.random.default_rng(1)
    groups = [blob(rng, center, n) for center, n in (((0, 0), 30), ((50, 0), 28), ((0, 50), 20), ((50, 50), 12))]
    pool = np.concatenate(groups)
    owners = np.repeat(np.arange(4), [30, 28, 20, 12])
    query = ask(pool, [3, 40], 2, features=features)
    # The linear model's embeddings are its inputs, which have unit variance.
    rows = (pool - pool.mean(axis=0)) / pool.std(axis=0)
    expected = set()
    for number in (2, 3):
        members = np.flatnonzero(owners == number)
        expected.add(min(members.tolist(), key=lambda row: spread(rows, row, members, 20)))
    assert set(query.indices.tolist()) == expected
    source = "inputs" if features == "auto" else features
    assert query.report == {"features": source, "clusters": 4, "uncovered": 2}


def test_outliers_come_after_groups_are_used_up():
    rng = np.random.default_rng(2)
    pool = np.concatenate([blob(rng, (0, 0), 20), blob(rng, (40, 0), 10), [[20.0, 300.0]]])
    picked = set(ask(pool, [0], 2).indices.tolist())
    assert len(picked & set(range(20))) == len(picked & set(range(20, 30))) == 1


def test_labels_count_for_their_cluster():
    rng = np.random.default_rng(3)
    pool = np.concatenate([blob(rng, (0, 0), 20), blob(rng, (40, 0), 15)])
    # Two clusters, both with labels: the next sample comes from the smaller one, which has fewer.
    query = ask(pool, [0, 1, 2, 20], 1, max_clusters=2)
    assert query.report == {"features": "inputs", "clusters": 2, "uncovered": 0}
    assert query.indices[0] >= 20


def test_fewer_distinct_samples_than_clusters():
    pool = np.repeat(np.arange(4.0), 10)[:, None] * [1.0, 2.0]
    query = ask(pool, [0, 1], 10)
    assert query.report == {"features": "inputs", "clusters": 4, "uncovered": 3}
    counts = np.bincount(query.indices // 10, minlength=4)
    assert counts.tolist() == [1, 3, 3, 3]


def test_images_are_clustered_by_embeddings_and_the_record_says_so():
    rng = np.random.default_rng(4)
    images = rng.integers(0, 255, size=(40, 4, 4, 1), dtype=np.uint8)
    data = Dataset("noise", images[:30], np.arange(30) % 2, images[30:], np.arange(10) % 2, ("a", "b"))
    settings = {"initial": 4, "batch_size": 3, "rounds": 1, "threads": 1, **QUICK}
    sources = [run("typiclust", data, options={"features": name}, **settings).rounds[0]["strategy"]["features"]
               for name in ("auto", "inputs")]  # fmt: skip
    assert sources == ["embeddings", "inputs"]


def test_requirements_depend_on_the_features():
    assert TypiClust().requires == {"inputs", "embeddings"}
    assert TypiClust("inputs").requires == {"inputs"} and TypiClust("embeddings").requires == {"embeddings"}


@pytest.mark.parametrize("options", [{"features": "pixels"}, {"neighbors": 0}, {"max_clusters": 0}])
def test_invalid_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        TypiClust(**options)
    with pytest.raises(InputError, match=next(iter(options))):
        create_strategy("typiclust", **options)


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_the_scale_of_embeddings_does_not_matter(scale):
    rng = np.random.default_rng(5)
    groups = [blob(rng, center, 12) for center in ((0, 0), (9, 0), (0, 9), (9, 9))]
    embeddings = torch.as_tensor(np.concatenate(groups), dtype=torch.float32)

    def batch(factor):
        views = [View(range(47), factor * embeddings[:47]), View(range(47, 48), factor * embeddings[47:])]
        context = SimpleNamespace(
            candidates=views[0], labeled=views[1], rng=np.random.default_rng(0), progress=lambda done, total: None
        )
        return set(TypiClust("embeddings").query(context, 3).indices.tolist())

    assert batch(scale) == batch(1.0)
    assert len(batch(0.0)) == 3


@pytest.mark.parametrize("limit", [10**9, 0], ids=["full passes", "mini-batches"])
def test_clustering_is_seeded_and_uses_one_thread(monkeypatch, limit):
    threads = []

    def watched(base):
        class Watched(base):
            def fit(self, rows):
                threads.extend(pool["num_threads"] for pool in threadpool_info())
                return super().fit(rows)

        return Watched

    monkeypatch.setattr(clustering, "FULL_PASS_LIMIT", limit)
    for name in ("KMeans", "MiniBatchKMeans"):
        monkeypatch.setattr(clustering, name, watched(getattr(clustering, name)))
    rows = np.random.default_rng(0).normal(size=(600, 8)).astype(np.float32)
    with threadpool_limits(2):
        first, again, other = (cluster(rows, 20, np.random.default_rng(seed)).tolist() for seed in (7, 7, 8))
    assert first == again != other
    assert threads and set(threads) == {1}
