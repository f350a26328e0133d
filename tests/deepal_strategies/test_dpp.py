"""DPP: the greedy choice by determinants, and samples by their probabilities, from all subsets."""

import itertools
import math

import numpy as np
import pytest
import torch

from deepal_autoal import InputError
from deepal_strategies.dpp import DPP, JITTER, draw_eigenvectors, log_symmetric_polynomials, sample_k_dpp
from tests.pretended_cuda import pretended_cuda


def naive_kernels(context, gamma, radius):
    """Return S and q of all candidates."""
    rows = context.candidates.embeddings().double().numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    squared = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    p = context.candidates.probabilities().double().numpy()
    return np.exp(-squared / (2 * radius**2)) + JITTER * np.eye(len(rows)), (-(p * np.log(p)).sum(axis=1)) ** gamma


def naive_greedy(similarity, quality, n_chosen):
    kernel = quality[:, None] * similarity * quality
    chosen = []
    for _ in range(n_chosen):
        left = [i for i in range(len(kernel)) if i not in chosen]
        chosen.append(max(left, key=lambda i: np.linalg.slogdet(kernel[np.ix_([*chosen, i], [*chosen, i])])[1]))
    return chosen


@pytest.mark.parametrize("gamma, radius", [(1.0, 0.7), (0.1, 0.3), (2.0, 1.5)])
def test_the_greedy_choice_has_the_largest_determinants(make_round, gamma, radius):
    context = make_round(n_labeled=5, n_unlabeled=40).context
    similarity, quality = naive_kernels(context, gamma, radius)
    expected = naive_greedy(similarity, quality, 12)
    query = DPP(gamma=gamma, radius=radius).query(context, 12)
    assert query.indices.tolist() == context.candidates.indices[expected].tolist()
    log_volume = np.linalg.slogdet(similarity[np.ix_(expected, expected)])[1]
    assert query.report["log_volume"] == pytest.approx(log_volume, abs=1e-6)


def test_the_default_radius_follows_the_median_distance(make_round):
    context = make_round(n_labeled=5, n_unlabeled=40).context
    rows = torch.nn.functional.normalize(context.candidates.embeddings().double())
    assert DPP().query(context, 3).report["radius"] == pytest.approx(float(torch.pdist(rows).median()) / 2**0.5)


def test_only_the_most_uncertain_are_considered(make_round):
    context = make_round(n_unlabeled=60).context
    p = context.candidates.probabilities()
    likeliest = (-(p * p.log()).sum(dim=1)).topk(20).indices.numpy()
    for form in ("map", "sample"):
        query = DPP(form, considered=20).query(context.for_candidate(form), 10)
        assert set(query.indices) <= set(context.candidates.indices[likeliest]) and len(set(query.indices)) == 10
        assert query.report["considered"] == 20
        # At least twice the batch, and no more than there are.
        assert DPP(form, considered=20).query(context, 15).report["considered"] == 30
        assert sorted(DPP(form).query(context, 60).indices) == sorted(context.candidates.indices)


def test_symmetric_polynomials_and_eigenvectors_follow_their_definition():
    values = [0.2, 3.0, 1.0, 0.5, 2.0]
    table = log_symmetric_polynomials(torch.tensor(values, dtype=torch.float64).log(), 3)
    for m, size in itertools.product(range(6), range(4)):
        expected = sum(math.prod(part) for part in itertools.combinations(values[:m], size))
        assert math.exp(table[m, size]) == pytest.approx(expected, abs=1e-12)
    # Over a fine grid of the first decision, the last value is drawn as often as sets of 3 contain it.
    share = values[-1] * math.exp(table[4, 2] - table[5, 3])
    logs = torch.tensor(values, dtype=torch.float64).log()
    for noise, is_in in ((share - 1e-6, True), (share + 1e-6, False)):
        uniform = torch.full((5,), 0.5)
        uniform[0] = noise
        drawn = draw_eigenvectors(logs, 3, uniform.double())
        assert (4 in drawn.tolist()) == is_in and len(set(drawn.tolist())) == 3


def test_samples_have_the_probabilities_of_the_k_dpp():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5, 2))
    similarity = np.exp(-((rows[:, None] - rows[None]) ** 2).sum(axis=2))
    quality = np.array([1.0, 0.5, 0.8, 0.3, 0.9])
    kernel = quality[:, None] * (similarity + JITTER * np.eye(5)) * quality
    subsets = list(itertools.combinations(range(5), 2))
    weights = np.array([np.linalg.det(kernel[np.ix_(part, part)]) for part in subsets])
    generator, n = torch.Generator().manual_seed(0), 600
    counts = dict.fromkeys(subsets, 0)
    for _ in range(n):
        drawn = sample_k_dpp(torch.as_tensor(similarity), torch.as_tensor(quality).log(), 2, generator)
        counts[tuple(sorted(drawn.tolist()))] += 1
    expected = n * weights / weights.sum()
    assert ((np.array(list(counts.values())) - expected) ** 2 / expected).sum() < 22  # 1% of chi-squared with 9 degrees


@pytest.mark.parametrize("form", ["map", "sample"])
def test_duplicates_and_certain_predictions(make_round, form):
    embeddings = torch.ones(30, 4)
    embeddings[15:, 0] = 2.0
    logits = torch.zeros(30, 3)
    logits[::2, 0] = 300.0  # entropy 0
    context = make_round(0, 30, logits=logits, embeddings=embeddings).context
    query = DPP(form).query(context, 30)
    assert sorted(query.indices) == list(range(30)) and np.isfinite(query.report["log_volume"])
    first = DPP(form).query(context.for_candidate("b"), 2).indices
    assert (np.asarray(first) % 2 == 1).all()
    if form == "map":  # one of each kind
        assert {index >= 15 for index in first.tolist()} == {True, False}


def test_ties_are_broken_at_random(make_round):
    context = make_round(0, 30, logits=torch.zeros(30, 3), embeddings=torch.ones(30, 4)).context
    batches = {tuple(DPP().query(context.for_candidate(name), 3).indices) for name in "abcd"}
    assert len(batches) == 4


def test_on_a_device():
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    similarity, quality = torch.exp(-torch.cdist(rows, rows)), torch.rand(12, generator=generator).double()
    expected = sample_k_dpp(similarity, quality.log(), 3, torch.Generator().manual_seed(2)).tolist()
    with pretended_cuda():
        drawn = sample_k_dpp(similarity.cuda(), quality.log().cuda(), 3, torch.Generator("cuda").manual_seed(2))
        assert drawn.tolist() == expected


@pytest.mark.parametrize("options", [{"form": "mode"}, {"gamma": -1}, {"radius": 0.0}, {"considered": 0}])
def test_invalid_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        DPP(**options)
