"""TypiClust: the whole rule against loops, and its clusters, turns and typicality in hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepal_autoal import BlockSize, InputError
from deepal_strategies import typiclust
from deepal_strategies.typiclust import TypiClust, most_typical, take_turns
from tests.pretended_cuda import pretended_cuda


def naive_typicality(rows, n_neighbors, squared):
    """Return 1/(mean distance + 1e-5) as the authors do, infinite without a neighbor."""
    found = []
    rows = np.asarray(rows, dtype=np.float64)
    for i, distances in enumerate(((rows[:, None] - rows) ** 2).sum(axis=2)):
        others = sorted(np.delete(distances, i).tolist())
        nearest = [one if squared else one**0.5 for one in others[: min(n_neighbors, len(rows) // 2)]]
        found.append(1 / (sum(nearest) / len(nearest) + 1e-5) if nearest else np.inf)
    return found


def naive_batch(rows, clusters, is_labeled, batch_size, n_neighbors, squared):
    """Return the batch of the authors' loop, where clusters that are used up are skipped."""
    order = sorted(
        (number for number in set(clusters.tolist()) if (clusters == number).sum() > 5),
        key=lambda number: ((clusters[is_labeled] == number).sum(), -(clusters == number).sum()),
    )
    left = np.where(is_labeled, -1, clusters)
    batch, turn = [], 0
    while len(batch) < batch_size:
        members = np.flatnonzero(left == order[turn % len(order)])
        turn += 1
        if len(members):
            batch.append(int(members[np.argmax(naive_typicality(rows[members], n_neighbors, squared))]))
            left[batch[-1]] = -1
    return batch


@pytest.fixture
def clustered(monkeypatch):
    """Return a list of the clusterings that queries made, as labels and their number."""
    made, plain = [], typiclust.k_means

    def k_means(rows, n_clusters, generator):
        clusters = plain(rows, n_clusters, generator)
        made.append((clusters.labels.numpy(), n_clusters))
        return clusters

    monkeypatch.setattr(typiclust, "k_means", k_means)
    return made


def positions(context, query):
    return np.searchsorted(context.candidates.indices, query.indices).tolist()


# Few enough choices that no cluster is down to pairs of mutual neighbors, which tie.
@pytest.mark.parametrize(("n_neighbors", "distance"), [(20, "squared"), (3, "euclidean")])
@pytest.mark.parametrize("n_labeled", [0, 9])
@pytest.mark.parametrize(("sizes", "batch_size"), [([61, 40, 23, 11], 1), ([61, 40, 23, 11], 20), ([61, 40, 5, 3], 4)])
def test_the_batch_is_that_of_the_authors_loop(
    make_round, clustered, monkeypatch, n_neighbors, distance, n_labeled, sizes, batch_size
):
    monkeypatch.setattr(typiclust, "NEIGHBORS", BlockSize(300))
    owners = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    centers = 100 * torch.eye(len(sizes), 8)
    noise = torch.randn(len(owners), 8, generator=torch.Generator().manual_seed(1))
    made = make_round(n_labeled, len(owners) - n_labeled, embeddings=centers[torch.as_tensor(owners)] + noise)
    query = TypiClust(n_neighbors, 4, distance).query(made.context, batch_size)
    ((labels, n_clusters),) = clustered
    assert n_clusters == min(n_labeled + batch_size, 4)
    views = (made.context.candidates, made.context.labeled)
    rows = torch.cat([view.embeddings() for view in views]).numpy()
    is_labeled = np.arange(len(rows)) >= len(views[0])
    expected = naive_batch(rows, labels, is_labeled, batch_size, n_neighbors, distance == "squared")
    assert positions(made.context, query) == expected
    uncovered = set(labels.tolist()) - set(labels[is_labeled].tolist())
    assert query.report == {"clusters": len(set(labels.tolist())), "uncovered": len(uncovered)}


def test_at_most_500_clusters(make_round, clustered):
    context = make_round(30, 600, n_features=2).context
    assert len(set(TypiClust().query(context, 480).indices.tolist())) == 480
    assert clustered[0][1] == 500


def test_clusters_take_turns():
    # Sizes 8, 7, 6 and three tiny ones; the largest and one of the tiny ones already have a label.
    clusters = np.repeat(np.arange(6), [8, 7, 6, 5, 4, 1])
    is_labeled = np.zeros(len(clusters), dtype=bool)
    is_labeled[[0, 21]] = True
    turns = take_turns(clusters, is_labeled, 29, np.random.default_rng(0)).tolist()
    large = [1, 2, 0] * 6 + [1, 0]
    assert turns == [*large, 4, 5, 3, 4, 3, 4, 3, 4, 3]
    assert take_turns(clusters, is_labeled, 4, np.random.default_rng(0)).tolist() == turns[:4]


def test_a_cluster_that_runs_out_is_passed_over():
    clusters = np.repeat([0, 1], [9, 6])
    is_labeled = np.arange(15) >= 11  # four of the second cluster
    assert take_turns(clusters, is_labeled, 6, np.random.default_rng(0)).tolist() == [0, 1, 0, 1, 0, 0]


def test_ties_between_clusters_are_broken_at_random():
    clusters = np.repeat(np.arange(4), 6)
    none = np.zeros(len(clusters), dtype=bool)
    assert {int(take_turns(clusters, none, 1, np.random.default_rng(seed))[0]) for seed in range(40)} == {0, 1, 2, 3}


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize(("n", "n_neighbors"), [(60, 20), (41, 20), (12, 1), (7, 20), (1, 20)])
@pytest.mark.parametrize("block", [1 << 20, 100])
def test_all_choices_against_loops(monkeypatch, squared, n, n_neighbors, block):
    monkeypatch.setattr(typiclust, "NEIGHBORS", BlockSize(block))
    rows = 1000 + torch.randn(n, 3, generator=torch.Generator().manual_seed(n))
    left, expected = list(range(n)), []
    while left:
        expected.append(left.pop(int(np.argmax(naive_typicality(rows[left].numpy(), n_neighbors, squared)))))
    # Of the last two, each is the other's only neighbor.
    assert most_typical(rows, n, n_neighbors, squared).tolist() == expected


def test_squares_can_change_the_choice():
    # The second is 0.1 and 2.9 from its neighbors, the fourth 1.6 from both.
    rows = torch.tensor([[0.0], [0.1], [3.0], [100.0], [101.6], [98.4]])
    assert most_typical(rows, 1, 2, squared=False).item() == 1
    assert most_typical(rows, 1, 2, squared=True).item() == 3


def test_labeled_samples_are_no_neighbors(make_round):
    # Four labeled samples next to candidate 0; the others are closer to each other than to it.
    values = torch.tensor([0.0, 5.0, 5.5, 6.0, 6.5, 7.0])
    embeddings = torch.zeros(10, 1)
    embeddings[torch.tensor(make_round(4, 6).context.candidates.indices)] = values[:, None]
    context = make_round(4, 6, embeddings=embeddings).context
    assert positions(context, TypiClust(max_clusters=1).query(context, 1)) == [3]


def test_only_neighborhoods_that_lost_a_row_are_computed_again(monkeypatch):
    counted, plain = [], typiclust._nearest_distances

    def counting(rows, squares, is_left, which, count):
        counted.append(len(which))
        return plain(rows, squares, is_left, which, count)

    monkeypatch.setattr(typiclust, "_nearest_distances", counting)
    rows = torch.randn(600, 6, generator=torch.Generator().manual_seed(0))
    most_typical(rows, 50, 20)
    assert sum(counted) < 5 * 600


@pytest.mark.parametrize("magnitude", [1e-30, 1.0, 1e30])
def test_coinciding_samples_are_equally_typical(make_round, magnitude):
    rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(3))
    rows[10:40] = rows[7]
    picks = set()
    for seed in range(12):
        context = make_round(0, 60, embeddings=magnitude * rows, seed=seed).context
        picks.update(positions(context, TypiClust().query(context, 1)))
    assert picks <= {7, *range(10, 40)} and len(picks) > 5


def test_fewer_distinct_samples_than_clusters(make_round):
    embeddings = torch.arange(4.0).repeat_interleave(10)[:, None] * torch.tensor([1.0, 2.0])
    context = make_round(0, 40, embeddings=embeddings).context
    query = TypiClust().query(context, 10)
    assert query.report == {"clusters": 4, "uncovered": 4}
    assert sorted(np.bincount(np.array(positions(context, query)) // 10).tolist()) == [2, 2, 3, 3]


def test_choices_are_the_same_on_a_device_and_wait_for_it_rarely():
    rows = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    expected = [most_typical(rows, n, 20).tolist() for n in (1, 30)]
    with pretended_cuda() as devices:
        on_device, waits = rows.cuda(), []
        for n, batch in zip((1, 30), expected, strict=True):
            before = sum(devices.waits.values())
            chosen = most_typical(on_device, n, 20)
            waits.append(sum(devices.waits.values()) - before)
            assert chosen.tolist() == batch
    # One for the size of what is to be computed again after each choice but the last.
    assert waits == [0, 29]


@pytest.mark.parametrize("options", [{"neighbors": 0}, {"max_clusters": 0}, {"distance": "cosine"}])
def test_invalid_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        TypiClust(**options)
