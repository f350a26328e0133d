"""GALAXY's lines and picks, against a plain version of the paper's rule."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from deepal_strategies.galaxy import CUT, RANDOM, STRETCH, Galaxy, Lines, next_positions
from deepal_strategies.shared import row_blocks


def naive_choices(kinds):
    """Return the positions that may be picked, by walking over the line."""
    labeled = [i for i, kind in enumerate(kinds) if kind >= 0]
    pairs = [(i, j) for i, j in itertools.pairwise(labeled) if kinds[i] != kinds[j]]
    unlabeled = [i for i, kind in enumerate(kinds) if kind < 0]
    open_pairs = [(i, j) for i, j in pairs if j - i > 1]
    if open_pairs:
        shortest = min(j - i for i, j in open_pairs)
        return {m for i, j in open_pairs if j - i == shortest for m in ((i + j) // 2, -(-(i + j) // 2))}
    if pairs:
        nearest = {u: min(abs(u - (i + j) / 2) for i, j in pairs) for u in unlabeled}
        return {u for u in unlabeled if nearest[u] == min(nearest.values())}
    return set(unlabeled)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_positions_are_those_of_the_rule(share):
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(200):
        kinds = np.where(rng.random(30) < share, rng.integers(0, 2, 30), -1).astype(np.int8)
        kinds[rng.integers(30)] = -1
        if rng.random() < 0.3:  # both kinds next to each other only: a cut
            kinds = np.array([*[0] * 5, *[1] * 4, *[-1] * 6], dtype=np.int8)
        positions, how = next_positions(kinds)
        assert set(positions.tolist()) == naive_choices(kinds)
        found.add(how)
    assert share != 0.1 or found == {STRETCH, CUT, RANDOM}


def test_lines_put_predicted_samples_last_by_their_certainty():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.4, 0.3], [0.3, 0.1, 0.6]])
    lines = Lines(np.log(probabilities).astype(np.float32), np.array([1]), np.random.default_rng(0))
    # p_0 - max: 0, 0, -0.5, -0.1, -0.3.
    assert lines.of(0).tolist() == [2, 4, 3, 0, 1]
    assert lines.kinds(lines.of(0)).tolist() == [-1, 0, -1, -1, -1]
    lines.is_taken[0] = True
    assert lines.of(0).tolist() == [2, 4, 3, 1] and lines.of(1)[-1] == 2


def test_batch(make_round):
    problem = make_round(n_labeled=30, n_unlabeled=50)
    answer = Galaxy().query(problem.context, 20)
    assert len(set(answer.indices.tolist())) == 20 and sum(answer.report.values()) == 20
    assert answer.report[STRETCH] > 0
    assert set(answer.indices.tolist()) <= set(problem.context.candidates.indices.tolist())


def test_picks_are_the_naive_ones(make_round):
    """With one sample at a time, it is one that the rule allows for some class."""
    for seed in range(10):
        problem = make_round(n_labeled=12, n_unlabeled=40, seed=seed)
        context = problem.context
        logs = torch.cat([context.candidates.log_probabilities(), context.labeled.log_probabilities()]).numpy()
        labels = context.labeled.labels.numpy()
        allowed = set()
        for number in range(3):
            p = np.exp(logs.astype(np.float64))
            line = sorted(range(len(p)), key=lambda i, p=p, k=number: (p[i, k] - p[i].max(), p[i].max()))
            kinds = [-1 if i < 40 else int(labels[i - 40] == number) for i in line]
            allowed |= {line[position] for position in naive_choices(kinds)}
        (pick,) = Galaxy().query(context, 1).indices
        assert context.candidates.indices.tolist().index(pick) in allowed


def test_without_labels_it_is_random(make_round):
    answer = Galaxy().query(make_round(n_labeled=0, n_unlabeled=20).context, 5)
    assert answer.report == {STRETCH: 0, CUT: 0, RANDOM: 5}


def test_lines_that_are_not_kept_are_the_same(make_round, monkeypatch):
    kept = Galaxy().query(make_round().context, 15).indices
    monkeypatch.setattr("deepal_strategies.galaxy.ORDERS", row_blocks.BlockSize(1))
    np.testing.assert_array_equal(Galaxy().query(make_round().context, 15).indices, kept)
