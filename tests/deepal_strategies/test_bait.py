"""BAIT against a plain version that inverts every matrix anew."""

import numpy as np
import pytest
import torch

from deepal_autoal import InputError, QueryError
from deepal_strategies import bait
from deepal_strategies.bait import BAIT


def naive_factors(p, h, form):
    """Return V of one sample, (k, k·D)."""
    if form == "binary":
        return np.sqrt(p.max() * (1 - p.max())) * h[None]
    return np.stack([np.sqrt(p[y]) * np.kron((np.arange(len(p)) == y) - p, h) for y in range(len(p))])


def naive_bait(pool, known, b, form, regularization=1.0, oversampling=2):
    """Return the chosen positions and the final trace; pool and known are lists of (p, h)."""
    pool, known = ([naive_factors(p, h, form) for p, h in samples] for samples in (pool, known))
    size = pool[0].shape[1]
    fisher = sum(v.T @ v for v in pool + known) / len(pool + known)
    matrix = regularization * np.eye(size) + sum((v.T @ v for v in known), np.zeros((size, size))) / (len(known) + b)
    share = b / (len(known) + b)
    information = [share * v.T @ v for v in pool]

    def trace(chosen):
        return np.trace(np.linalg.inv(matrix + sum((information[i] for i in chosen), np.zeros_like(matrix))) @ fisher)

    chosen = []
    for _ in range(min(len(pool), oversampling * b)):
        chosen.append(min(set(range(len(pool))) - set(chosen), key=lambda i: trace([*chosen, i])))
    while len(chosen) > b:
        chosen.remove(min(chosen, key=lambda i: trace([j for j in chosen if j != i])))
    return chosen, trace(chosen)


def samples_of(view):
    p = view.logits().double().softmax(dim=1).numpy()
    return list(zip(p, view.embeddings().double().numpy(), strict=True))


@pytest.mark.parametrize("form", ["binary", "full"])
@pytest.mark.parametrize("n_labeled", [0, 9])
@pytest.mark.parametrize("seed", range(2))
def test_batch_is_that_of_the_plain_computation(make_round, form, n_labeled, seed):
    context = make_round(n_labeled, 25, 3, 4, seed, labels=np.arange(25 + n_labeled) % 3).context
    query = BAIT(form).query(context, 5)
    expected, trace = naive_bait(samples_of(context.candidates), samples_of(context.labeled), 5, form)
    assert query.indices.tolist() == context.candidates.indices[expected].tolist()
    assert query.report == {"form": form, "added": 10, "trace": pytest.approx(trace, rel=1e-9)}


def test_forms_differ_and_options_count(make_round):
    context = make_round(9, 40, 4, 5).context
    pool, known = samples_of(context.candidates), samples_of(context.labeled)
    picks = {}
    for form, regularization, oversampling in (("binary", 1.0, 2), ("full", 1.0, 2), ("full", 0.01, 2), ("full", 1, 1)):
        expected, _ = naive_bait(pool, known, 4, form, regularization, oversampling)
        query = BAIT(form, regularization, oversampling).query(context, 4)
        assert query.indices.tolist() == context.candidates.indices[expected].tolist()
        picks[form, regularization, oversampling] = tuple(expected)
    assert len(set(picks.values())) >= 3


def test_two_classes_have_the_same_batch_in_both_forms(make_round):
    """There the binary form is exact but for a factor of 2 of the Fisher information, which λ makes up for."""
    context = make_round(8, 30, 2, 4).context
    binary = BAIT("binary", regularization=0.5).query(context, 4)
    full = BAIT("full").query(context, 4)
    assert binary.indices.tolist() == full.indices.tolist()


def test_many_choices_do_not_drift(make_round):
    context = make_round(10, 220, 3, 6).context
    query = BAIT().query(context, 100)
    pool = dict(zip(context.candidates.indices.tolist(), samples_of(context.candidates), strict=True))
    known = [naive_factors(p, h, "binary") for p, h in samples_of(context.labeled)]
    chosen = [naive_factors(*pool[i], "binary") for i in query.indices.tolist()]
    everything = [naive_factors(p, h, "binary") for p, h in pool.values()] + known
    fisher = sum(v.T @ v for v in everything) / len(everything)
    matrix = np.eye(6) + sum(v.T @ v for v in known) / 110 + sum(v.T @ v for v in chosen) * 100 / 110
    assert query.report["trace"] == pytest.approx(np.trace(np.linalg.inv(matrix) @ fisher), rel=1e-9)


@pytest.mark.parametrize("form", ["binary", "full"])
def test_blocks_do_not_matter(make_round, monkeypatch, form):
    context = make_round(9, 30, 3, 4).context
    expected = BAIT(form).query(context.for_candidate("a"), 5).indices
    monkeypatch.setattr(bait, "INFORMATION", bait.INFORMATION.__class__(64))
    assert BAIT(form).query(context.for_candidate("a"), 5).indices.tolist() == expected.tolist()


@pytest.mark.parametrize("batch_size", [1, 29, 30])
@pytest.mark.parametrize("form", ["binary", "full"])
@pytest.mark.parametrize("logits", [1e4 * torch.eye(3)[torch.arange(40) % 3], torch.zeros(40, 3)])
def test_any_batch_is_exact(make_round, batch_size, form, logits):
    context = make_round(10, 30, 3, logits=logits, embeddings=torch.ones(40, 4)).context
    chosen = BAIT(form).query(context, batch_size).indices
    assert len(set(chosen.tolist())) == batch_size and np.isin(chosen, context.candidates.indices).all()


def test_equal_candidates_are_not_chosen_by_position(make_round):
    logits, embeddings = torch.zeros(30, 3), torch.ones(30, 4)
    context = make_round(0, 30, 3, logits=logits, embeddings=embeddings, labels=np.arange(30) % 3).context
    first, second = (set(BAIT().query(context.for_candidate(name), 3).indices.tolist()) for name in "ab")
    assert first != second


def test_memory_is_bounded(make_round, watch):
    context = make_round(10, 5000, 3, 60).context
    for view in (context.candidates, context.labeled):
        view.logits(), view.embeddings()
    with watch:
        BAIT("full").query(context, 2)
    # Embeddings and blocks, but neither N x (C·D) nor N x N.
    assert watch.largest <= max(5000 * 60, 2 * bait.INFORMATION.cpu) < 5000 * 3 * 60


def test_what_does_not_fit_is_refused(make_round, monkeypatch):
    context = make_round().context
    monkeypatch.setattr(bait, "MOST_WEIGHTS", 23)
    with pytest.raises(InputError, match=r"matrices of 24 x 24, for 23 at most; use -o form=binary"):
        BAIT("full").query(context, 3)
    assert len(BAIT().query(context, 3).indices) == 3


def test_embeddings_beyond_double_precision_are_refused(make_round):
    with pytest.raises(QueryError, match="not finite"):
        BAIT().query(make_round(10, 30, embeddings=torch.full((40, 3), torch.nan)).context, 3)


@pytest.mark.parametrize("options", [{"form": "other"}, {"regularization": 0}, {"oversampling": 0.5}])
def test_options_are_checked(options):
    with pytest.raises(InputError, match=next(iter(options))):
        BAIT(**options)
