"""DropQuery: which candidates change, by how many passes, and what fills the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepal_autoal import InputError
from deepal_autoal.querying.context import PoolView
from deepal_strategies import dropquery
from deepal_strategies.dropquery import DropQuery


def naive_threshold(changes, n_passes, batch_size):
    threshold = n_passes // 2
    while threshold > 0 and sum(changed > threshold for changed in changes) < 25 * batch_size:
        threshold -= 1
    return threshold


@pytest.fixture
def passes(monkeypatch):
    """Set the classes of three passes, (3, N); they come in two parts."""

    def given(classes):
        table = torch.nn.functional.one_hot(torch.as_tensor(classes), 3).float()
        monkeypatch.setattr(PoolView, "mc_batches", lambda view, n_passes: iter(table[:n_passes].split(70, dim=1)))

    return given


def with_changes(changes):
    """Return logits of class 0, and passes of which the given number change to another class."""
    changes = np.asarray(changes)
    return torch.tensor([2.0, 0.0, -1.0]).repeat(len(changes), 1), (np.arange(3)[:, None] < changes) * 1


@pytest.mark.parametrize("counts", [(60, 40, 20), (0, 90, 30), (100, 10, 10), (119, 0, 1), (0, 70, 50)])
def test_candidates_are_those_that_change_often_enough(make_round, passes, counts):
    changes = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], counts))
    logits, classes = with_changes(changes)
    context = make_round(0, 120, logits=logits).context
    context.labeled = context.candidates  # only its length counts
    passes(classes)
    batch_size = 2
    query = DropQuery().query(context, batch_size)
    threshold = naive_threshold(changes, 3, batch_size)
    candidates = np.flatnonzero(changes > threshold)
    assert context.reported["threshold"] == threshold and context.reported["changing"] == len(candidates)
    chosen = set(query.indices.tolist())
    assert len(chosen) == batch_size
    if len(candidates) >= batch_size:
        assert chosen <= set(candidates.tolist())
    else:
        assert set(candidates.tolist()) <= chosen


def test_one_candidate_near_each_center_of_unit_embeddings(make_round, passes):
    # Three directions, with members of very different lengths; half of the samples do not change.
    rng = np.random.default_rng(1)
    axes = np.eye(3).repeat(20, axis=0) + 0.02 * rng.normal(size=(60, 3))
    embeddings = torch.as_tensor(axes * rng.uniform(1, 100, size=(60, 1)), dtype=torch.float32)
    changes = np.tile([0, 3], 30)
    logits, classes = with_changes(changes)
    context = make_round(0, 60, logits=logits, embeddings=embeddings, labels=np.arange(60) % 3).context
    context.labeled = context.candidates
    passes(classes)
    chosen = DropQuery().query(context, 3).indices
    unit = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    expected = set()
    for group in np.arange(60).reshape(3, 20):
        members = group[changes[group] == 3]
        center = unit[members].mean(axis=0)
        expected.add(int(members[np.linalg.norm(unit[members] - center, axis=1).argmin()]))
    assert set(chosen.tolist()) == expected


def test_without_labels_all_samples_are_candidates(make_round, monkeypatch):
    monkeypatch.setattr(dropquery, "count_changes", None)  # not called
    context = make_round(0, 50).context
    assert len(set(DropQuery().query(context, 5).indices.tolist())) == 5
    assert context.reported["changing"] == 50


def test_no_pass_is_refused():
    with pytest.raises(InputError, match="n_passes"):
        DropQuery(n_passes=0)
